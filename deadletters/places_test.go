package deadletters

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A folder behind a link is read as the folder itself.
func TestAFolderBehindALinkIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "2026-11-30")
	require.NoError(t, os.Mkdir(folder, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "a.jsonl"), []byte(packedLine(t, tooLarge("orders", 1))+"\n"), 0o600))
	link := filepath.Join(dir, "current")
	require.NoError(t, os.Symlink(folder, link))
	for _, path := range []string{folder, link, link + "/"} {
		require.Contains(t, runCommand(t, path).fine(t).out, ": 1 dead letters", path)
	}
}

// What is neither a file nor a folder has no end that could be fixed when it is opened.
func TestADeviceIsAnError(t *testing.T) {
	t.Parallel()
	r := runCommand(t, os.DevNull)
	require.Equal(t, 1, r.code)
	require.ErrorContains(t, r.failed, "is neither a file nor a folder")
}
