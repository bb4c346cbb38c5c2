// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// screenshots is where scripts/screenshots wants the pictures.
var screenshots = flag.String("screenshots", "", "write the pictures of the README into this `directory`")

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
	b := h.newBrowser()
	b.signIn()
	h.war()
	one := firstMatch(h, h.page(admin, "/credentials?q=mail1&kind=certificate&scheme=tls"), `href="(/credentials/[0-9a-f]{64})"`)
	incident := firstMatch(h, h.page(admin, "/uses"), `href="(/incidents/\d+)"`)
	use := firstMatch(h, h.page(admin, "/uses?verdict=foreign"), `href="(/uses/[^"]+)"`)
	desktop := look{"desktop", 1280, 900, false, "light"}
	dark := look{"dark", 1280, 900, false, "dark"}
	phone := look{"phone", 390, 844, true, "light"}
	for _, picture := range []struct {
		name, path string
		look
	}{
		{"overview", "/", desktop}, {"overview-dark", "/", dark}, {"credentials", "/credentials?kind=certificate&scheme=tls&sort=expires", desktop},
		{"credential", one, desktop}, {"findings", "/findings", desktop}, {"phone", "/", phone},
		{"uses", "/uses", desktop}, {"uses-phone", "/uses", phone}, {"incident", incident, desktop}, {"use", use, desktop}, {"credential-uses", used, desktop},
		{"sources", "/sources", desktop}, {"sources-phone", "/sources", phone}, {"directory", "/directory", desktop}, {"directory-phone", "/directory", phone},
		{"books", "/books", desktop}, {"book-map", "/books/map", desktop},
		{"issuers", "/issuers", desktop}, {"issuers-phone", "/issuers", phone}, {"issuer", "/issuers/mail", desktop}, {"issued", "/issued", desktop},
		{"certificate", "/issued/" + string(first.Serial), desktop}, {"requests", "/requests", desktop}, {"orders", "/orders", desktop},
		{"policies", "/policies?authority=servers&names=intranet.example.net&as=est/printer-4&role=client&via=est", desktop}, {"renewals", "/renewals", desktop}, {"renewals-phone", "/renewals?lifetime=47", phone},
		{"recall", "/recalls/mail-sync-2026", desktop}, {"recall-phone", "/recalls/mail-sync-2026", phone}, {"recalls", "/recalls", desktop}, {"evidence", "/recalls/mail-sync-2026/evidence", desktop},
	} {
		b.as(picture.look)
		b.open(picture.path)
		png := run(b, picture.name, chromedp.CaptureScreenshot())
		if len(png) < 10_000 {
			t.Errorf("the picture of %s has %d bytes", picture.path, len(png))
		}
		if err := os.WriteFile(filepath.Join(dir, picture.name+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
