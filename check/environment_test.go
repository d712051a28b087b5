package check

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// An env file gives what it gives to run, or an error where run has one.
func TestAnEnvFileIsReadAsRunReadsIt(t *testing.T) {
	read := func(text string) error {
		path := filepath.Join(t.TempDir(), "env")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return setEnvironment([]string{path})
	}
	for _, name := range []string{"CHECK_A", "CHECK_B", "CHECK_C", "CHECK_D", "CHECK_E", "CHECK_F"} {
		t.Setenv(name, "before")
	}
	require.NoError(t, read("# a comment\r\nCHECK_A=plain # and a comment\r\nCHECK_B = \"two words \\n\" # so\r\n\r\nCHECK_C=\n"+
		"CHECK_D=\"\"\"one line\"\"\"\nCHECK_E=\"\"\"-----BEGIN\n\"quoted\" = # \nEND\"\"\" # so\nCHECK_F='a'"))
	for name, want := range map[string]string{
		"CHECK_A": "plain", "CHECK_B": "two words \n", "CHECK_C": "", "CHECK_D": "one line", "CHECK_E": "-----BEGIN\n\"quoted\" = # \nEND", "CHECK_F": "'a'",
	} {
		require.Equal(t, want, os.Getenv(name), name)
	}
	for text, want := range map[string]string{
		"export CHECK_A=S3cr3t":                    "line 1 of ", // sh's
		"CHECK_A":                                  "it is not of the form NAME=value",
		"\n\nCHECK_A=S3cr3t two":                   "the value of CHECK_A has a space: put it in quotes",
		"CHECK_A=\"S3cr3t":                         "the quotes of CHECK_A do not end",
		"CHECK_A=\"\"\"\nS3cr3t\nCHECK_B=1":        "the quotes of CHECK_A do not end",
		"CHECK_A=\"a\" S3cr3t":                     "there is more behind the quotes of CHECK_A",
		"CHECK_B=\"\"\"\n\n\"\"\"\nCHECK_A S3cr3t": "reading line 4 of ",
	} {
		err := read(text)
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "S3cr3t")
	}
}
