package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is released links open source alone, and the texts have all of it.
func TestReleasedProgramIsOpenSource(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	require.NoError(t, run("../..", out, "", strings.Split(released, ",")))
	texts, err := os.ReadFile(filepath.Join(out, "THIRD_PARTY_LICENSES.txt"))
	require.NoError(t, err)
	for _, want := range []string{
		"github.com/redpanda-data/benthos/v4 v", "github.com/twmb/franz-go v", "std: BSD-3-Clause",
		"https://proxy.golang.org/github.com/!jeffail/gabs/v2/@v/", // an upper-case letter
		"github.com/hashicorp/golang-lru/v2 v2.0.7: BSD-3-Clause, MPL-2.0\n",
		"Redistribution and use in source and binary forms",
	} {
		require.Contains(t, string(texts), want)
	}
	require.NotContains(t, string(texts), "redpanda-data/connect")
	notice, err := os.ReadFile(filepath.Join(out, "NOTICE"))
	require.NoError(t, err)
	require.Contains(t, string(notice), "gopkg.in/yaml.v3")
}

// The module connect/v4 has files under Apache 2.0 and under the Redpanda Community
// License, and no LICENSE file: the bundle links both, and is not released.
func TestBundleIsNotOpenSource(t *testing.T) {
	t.Parallel()
	packages, err := linked("../../connect", []string{"linux/amd64"})
	require.NoError(t, err)
	problems := check(packages)
	require.Len(t, problems, 1, "all other files of the module have a header with Apache 2.0")
	require.Contains(t, problems[0], "github.com/redpanda-data/connect/v4/internal/serviceaccount")
	require.Contains(t, problems[0], "internal/serviceaccount/oauth2.go: its licence is not known")
	require.Contains(t, problems[0], "Redpanda Community")
	require.ErrorContains(t, run("../../connect", t.TempDir(), "", []string{"linux/amd64"}), problems[0])
}

func TestHeader(t *testing.T) {
	t.Parallel()
	const apache = "// Licensed under the Apache License, Version 2.0 (the \"License\");\n// you may not use this file except in compliance with the License.\n// You may obtain a copy of the License at\n//\n//    http://www.apache.org/licenses/LICENSE-2.0\n\n"
	for _, test := range []struct{ name, text, ids, problem string }{
		{"none", "package p\n", "", ""},
		{"a word in the code", "package p\n\n// Licensed under nothing.\n", "", ""},
		{"Apache 2.0", apache + "package p\n", "Apache-2.0", ""},
		{"SPDX", "// SPDX-License-Identifier: MIT\n\npackage p\n", "MIT", ""},
		{"SPDX, a choice", "// SPDX-License-Identifier: GPL-2.0-only OR MIT\npackage p\n", "MIT", ""},
		{"SPDX, both", "// SPDX-License-Identifier: MIT AND AGPL-3.0-only\npackage p\n", "", "SPDX-License-Identifier: MIT AND AGPL-3.0-only is not allowed"},
		{"SPDX, an exception", "// SPDX-License-Identifier: Apache-2.0 WITH Commons-Clause\npackage p\n", "", "is not allowed"},
		{"SPDX, not open", "// SPDX-License-Identifier: BUSL-1.1\npackage p\n", "", "is not allowed"},
		{"SPDX, below the package", "package p\n\n// SPDX-License-Identifier: BUSL-1.1\n", "", "is not allowed"},
		{"a reference", "// Use of this source code is governed by a BSD-style\n// license that can be found in the LICENSE file.\n\npackage p\n", "", ""},
		{"another file", "// Use of this source code is governed by the license in ENTERPRISE.txt.\n\npackage p\n", "", "its licence is not known"},
		{"Redpanda", "// Licensed as a Redpanda Enterprise file under the Redpanda Community\n// License (the \"License\"); you may not use this file except in compliance with\n// the License.\n\npackage p\n", "", "its licence is not known"},
		{"Redpanda, beside Apache", apache + "// Licensed as a Redpanda Enterprise file under the Redpanda Community License.\npackage p\n", "", "its licence is not known"},
		{"Business Source", "// Use of this software is governed by the Business Source License 1.1.\npackage p\n", "", "its licence is not known"},
		{"no licence at all", "// Proprietary and confidential.\npackage p\n", "", "its licence is not known"},
		{"assembly", "// +build amd64\n// Licensed under the Elastic License 2.0\n#include \"textflag.h\"\nTEXT f(SB)\n", "", "its licence is not known"},
		{"assembly, below", "TEXT f(SB)\n// Licensed to run\n", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ids, problem := header(test.text)
			if test.problem != "" {
				require.Contains(t, problem, test.problem)
				return
			}
			require.Empty(t, problem)
			require.Equal(t, test.ids, strings.Join(ids, " "))
		})
	}
}

// A package without a LICENSE file above it needs a header in each file.
func TestFileWithoutALicense(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "p.go")
	require.NoError(t, os.WriteFile(file, []byte("package p\n"), 0o600))
	p := linkedPackage{path: "example.com/m/p", module: module{"example.com/m", "v1.0.0", dir}, files: []string{file}}
	require.NoError(t, p.findTexts(dir))
	require.Equal(t, []string{"example.com/m/p (example.com/m v1.0.0): p.go: neither a header nor a LICENSE file names its licence"}, check([]linkedPackage{p}))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("Ask us.\n"), 0o600))
	require.NoError(t, p.findTexts(dir))
	require.Equal(t, []string{"example.com/m/p (example.com/m v1.0.0): LICENSE: only 0% of it are a licence that is known"}, check([]linkedPackage{p}))
}

func TestSBOMGetsLicenses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "p.go")
	require.NoError(t, os.WriteFile(file, []byte("// SPDX-License-Identifier: MIT\n\npackage p\n"), 0o600))
	packages := []linkedPackage{
		{path: "example.com/m/p", module: module{"example.com/m", "v1.0.0", dir}, files: []string{file}},
		{path: plugin, module: module{plugin, "", dir}},
	}
	document := filepath.Join(dir, "sbom.json")
	const before = `{"metadata":{"component":{"name":"` + plugin + `"}},"components":[{"name":"example.com/m","version":"v1.0.0"}]}`
	require.NoError(t, os.WriteFile(document, []byte(before), 0o600))
	require.NoError(t, addToSBOM(document, packages))
	after, err := os.ReadFile(document)
	require.NoError(t, err)
	require.JSONEq(t, `{
		"metadata": {"component": {"name": "`+plugin+`", "licenses": [{"expression": "Apache-2.0"}]}},
		"components": [{"name": "example.com/m", "version": "v1.0.0", "licenses": [{"expression": "MIT"}]}]
	}`, string(after))

	require.ErrorContains(t, addToSBOM(document, packages[1:]), "has module example.com/m, of which no package was found")
}
