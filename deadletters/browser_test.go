package deadletters

import (
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A real browser shows the report, on a screen, on a phone and in print. The
// pictures are kept in dist/, to be looked at.
func TestReportInABrowser(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it starts a browser: run it without -short")
	}
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Skip("there is no Chromium on the PATH (Debian: apt-get install chromium)")
	}
	var lines []string
	for i := range 600 {
		r := tooLarge("orders", i*7%600)
		if i%3 == 0 {
			r = noKey("customers", i)
		}
		lines = append(lines, packedLine(t, &kgo.Record{Value: r.Value, Headers: r.Headers}))
	}
	page := filepath.Join(t.TempDir(), "report.html")
	runCommand(t, "summary", "--html", page, file(t, "night.jsonl", lines...)).fine(t)

	dir, err := filepath.Abs("../dist")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	show := func(args ...string) []byte {
		cmd := exec.Command(browser, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + t.TempDir()}, append(args, "file://"+page)...)...)
		out, err := cmd.Output()
		require.NoError(t, err)
		return out
	}
	// What the browser has made of the page.
	dom := string(show("--dump-dom"))
	require.Contains(t, dom, "<b>600</b>messages failed for good")
	require.Contains(t, dom, "<rect ")
	for name, width := range map[string]int{"screen": 1280, "phone": 500} { // no window is narrower
		picture := filepath.Join(dir, "dead-letters-"+name+".png")
		show("--screenshot="+picture, fmt.Sprintf("--window-size=%d,2200", width))
		f, err := os.Open(picture)
		require.NoError(t, err)
		image, err := png.Decode(f)
		require.NoError(t, f.Close())
		require.NoError(t, err)
		require.Equal(t, width, image.Bounds().Dx())
		colors := map[uint32]bool{}
		for y := 0; y < image.Bounds().Dy(); y += 5 {
			r, g, b, _ := image.At(width/2, y).RGBA()
			colors[r>>8<<16|g>>8<<8|b>>8] = true
		}
		require.Greater(t, len(colors), 3, "there is more to be seen than an empty page")
	}
	show("--print-to-pdf=" + filepath.Join(dir, "dead-letters.pdf"))
	require.FileExists(t, filepath.Join(dir, "dead-letters.pdf"))
}
