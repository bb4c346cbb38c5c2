// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// One Chromium serves all tests, because its start costs more than most of them: each has a
// window in it, with cookies of its own.
var chromium struct {
	context.Context
	start func() error // the first call starts it
}

func TestMain(m *testing.M) { os.Exit(withChromium(m)) }

// withChromium runs the tests, and ends what they have started.
func withChromium(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tally-web-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	allocator, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath("chromium"), chromedp.UserDataDir(dir), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-features", "Translate,BackForwardCache,SpareRendererForSitePerProcess"), // which cost time, and nobody goes back
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	)
	defer stop()
	first, end := chromedp.NewContext(allocator)
	defer end() // waits for the browser to end, which writes into its directory until then
	chromium.Context = first
	chromium.start = sync.OnceValue(func() error {
		if _, err := exec.LookPath("chromium"); err != nil {
			return fmt.Errorf("the test needs Chromium: apt-get install -y --no-install-recommends chromium")
		}
		_, err := chromedp.Run(first, chromedp.Steps())
		return err
	})
	return m.Run()
}
