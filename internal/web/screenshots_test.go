// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// screenshots is where scripts/screenshots wants the pictures; with further come those that
// the documentation does not show, for whoever looks at the pages.
var (
	screenshots = flag.String("screenshots", "", "write the pictures of the README into this `directory`")
	further     = flag.Bool("further", false, "write pictures of other pages as well")
)

// The pictures of the README are made by a test, so that making them always works.
func TestScreenshots(t *testing.T) {
	dir := *screenshots
	if dir == "" {
		dir = t.TempDir()
	}
	h := newHouse(t)
	h.furnish()
	credential := h.used()
	h.changed(credential)
	first := h.issued()
	used := "/credentials/" + string(credential.ID)
	fought := h.war()
	b := h.newBrowser()
	h.at(fought) // later than all others: the session must last until then
	b.signIn()
	h.at(testNow)
	one := firstMatch(h, h.page(admin, "/credentials?q=mail1&kind=certificate&scheme=tls"), `href="(/credentials/[0-9a-f]{64})"`)
	incident := firstMatch(h, h.page(admin, "/uses"), `href="(/incidents/\d+)"`)
	use := firstMatch(h, h.page(admin, "/uses?verdict=foreign"), `href="(/uses/[^"]+)"`)
	desktop, phone := look{"desktop", 1280, 900, false}, looks[1]
	pictures := []picture{ // those that the documentation shows
		{"overview", "/", desktop}, {"uses", "/uses", desktop}, {"issuers", "/issuers", desktop}, {"renewals", "/renewals", desktop}, {"recall", "/recalls/mail-sync-2026", desktop},
	}
	if *further {
		pictures = append(pictures, []picture{
			{"overview-dark", "/", desktop}, {"phone", "/", phone}, {"credentials", "/credentials?kind=certificate&scheme=tls&sort=expires", desktop},
			{"credential", one, desktop}, {"findings", "/findings", desktop},
			{"uses-dark", "/uses", desktop}, {"uses-phone", "/uses", phone}, {"incident", incident, desktop}, {"use", use, desktop}, {"credential-uses", used, desktop},
			{"sources", "/sources", desktop}, {"sources-phone", "/sources", phone}, {"directory", "/directory", desktop}, {"directory-phone", "/directory", phone},
			{"books", "/books", desktop}, {"book-map", "/books/map", desktop},
			{"issuers-dark", "/issuers", desktop}, {"issuers-phone", "/issuers", phone}, {"issuer", "/issuers/mail", desktop}, {"issued", "/issued", desktop},
			{"certificate", "/issued/" + string(first.Serial), desktop}, {"requests", "/requests", desktop}, {"orders", "/orders", desktop},
			{"policies", "/policies?authority=servers&names=intranet.example.net&as=est/printer-4&role=client&via=est", desktop},
			{"renewals-dark", "/renewals", desktop}, {"renewals-phone", "/renewals?lifetime=47", phone},
			{"recall-dark", "/recalls/mail-sync-2026", desktop}, {"recall-phone", "/recalls/mail-sync-2026", phone}, {"recalls", "/recalls", desktop},
			{"evidence", "/recalls/mail-sync-2026/evidence", desktop}, {"recall-new", "/recalls/new", desktop},
		}...)
	}
	for _, one := range pictures {
		h.at(testNow)
		if strings.HasPrefix(one.path, "/recalls") {
			h.at(fought)
		}
		b.take(one, dir)
	}
}

// A picture is what a page looks like; dark, when its name says so.
type picture struct {
	name, path string
	look
}

func (b *browser) take(one picture, dir string) {
	b.Helper()
	b.as(one.look)
	b.in("light")
	if strings.HasSuffix(one.name, "-dark") {
		b.in("dark")
	}
	b.open(one.path)
	if title := evaluate[string](b, `document.querySelector(".letter h1")?.textContent ?? ""`); title != "" {
		b.Errorf("the picture of %s says %q", one.path, title)
	}
	png := run(b, one.name, chromedp.CaptureScreenshot())
	if len(png) < 10_000 {
		b.Errorf("the picture of %s has %d bytes", one.path, len(png))
	}
	if err := os.WriteFile(filepath.Join(dir, one.name+".png"), png, 0o644); err != nil {
		b.Fatal(err)
	}
}
