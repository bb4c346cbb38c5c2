// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
)

// What strangers write into certificates and file names. Each has a mark by
// which it is found in a page.
var attacks = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`' autofocus onfocus='alert(1)`,
	`javascript:alert(1)//`,
	`{{.Actor}}</textarea></title></style>`,
	"safe.example\u202Emoc.live", // shown backwards it is another name
	"a\u200Bb\uFEFF\u2066c\u2069",
	"line\u2028break",
	"OneWordWithoutAnyBreakThatIsWiderThanAnyPhoneIsAndThanMostColumnsOfATableWhateverTheTypefaceOfItMayBeAtAll.example",
}

// dangers are what no page may hold, whatever it shows.
var dangers = []string{
	"<script>alert", "<img src=x", "onfocus='alert", `href="javascript:`, "</textarea></title></style>",
	"\u202E", "\u200B", "\uFEFF", "\u2066", "\u2028",
}

// fields are the fields of forms with what is in them.
var fields = regexp.MustCompile(`(?s)<textarea.*?</textarea>|<input[^>]*>`)

// hostileHouse holds what an attacker would have it show, in every field.
func hostileHouse(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	ca := newAuthority(t, attacks[0])
	var sightings []tallystick.Sighting
	for i, attack := range attacks {
		c := ca.issue(newKey(t), attack, 100, 90, func(c *x509.Certificate) {
			c.DNSNames = nil
			c.Subject.Organization = attacks[:]
			c.URIs = []*url.URL{{Scheme: "javascript", Opaque: "alert(1)"}}
		})
		c.Names = append(c.Names, attack)
		s := seen(c, tallystick.RolePresents, "/etc/"+attack)
		s.File.Owner, s.File.Group, s.File.Alias, s.File.Format = attack, attack, attack, attack
		s.File.UsedBy = []tallystick.Usage{{Service: attack, Config: "/" + attack, Line: i, As: attack}}
		key := seen(keyOf(c), tallystick.RoleHolds, "/srv/"+attack)
		key.Credential.Subject, key.File.Readers = attack, []string{attack}
		login := seen(keyOf(c), tallystick.RoleAccepts, "/home/"+attack)
		login.Credential.Subject = attack
		login.SSH = &tallystick.SSHFacts{Account: attack, Options: []string{attack}, Hosts: []string{attack}, Comment: attack}
		tls := served(c, "127.0.0.1:1")
		tls.Place = tallystick.Place("tls://" + attack)
		tls.TLS.VerifyError, tls.TLS.Process, tls.TLS.ServerName = attack, attack, attack
		sightings = append(sightings, s, key, login, tls)
	}
	run := h.record("files", sightings...)
	said := store.PastAnnotation{Time: testNow, Author: attacks[0], Annotation: tallystick.Annotation{
		Owner: attacks[1], Environment: attacks[2], Tags: []string{"<script>alert(1)</script>"}, Notes: strings.Join(attacks, "\n"),
	}}
	if err := h.db.Annotate(t.Context(), sightings[0].Credential.ID, said); err != nil {
		t.Fatal(err)
	}
	miss := tallystick.Miss{Place: tallystick.Place(attacks[3]), Error: attacks[0], Detail: attacks[5], Seen: testNow}
	if _, err := h.db.Record(t.Context(), store.Batch{Run: run.ID, Source: "files", Misses: []tallystick.Miss{miss}}); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHostileContentIsHarmless(t *testing.T) {
	h := hostileHouse(t)
	list := h.page(operator, "/credentials")
	addresses := []string{"/", "/credentials", "/credentials?kind=key", "/places", "/findings", "/findings?rule=expired", "/findings?list=true", "/runs", "/audit"}
	for _, row := range strings.Split(list, `<td class="name">`)[1:] {
		addresses = append(addresses, firstMatch(h, row, `href="(/credentials/[0-9a-f]{64})"`))
	}
	for _, row := range strings.Split(h.page(operator, "/places"), `<td class="name">`)[1:] {
		addresses = append(addresses, firstMatch(h, row, `href="([^"]+)"`))
	}
	addresses = append(addresses, "/runs/"+firstMatch(h, h.page(operator, "/runs"), `href="/runs/(\d+)"`))
	for _, attack := range attacks { // what is asked for comes from strangers, too
		q := url.QueryEscape(attack)
		addresses = append(addresses, "/credentials?q="+q+"&owner="+q+"&issuer="+q+"&tag="+q, "/places?prefix="+q, "/findings?owner="+q, "/audit?actor="+q, "/findings?done="+q)
	}
	for _, address := range addresses {
		h.harmless(address)
	}
	h.contains(list, "&lt;script&gt;alert(1)&lt;/script&gt;", "safe.example[U+202E]moc.live", "a[U+200B]b[U+FEFF][U+2066]c[U+2069]")
	for _, address := range []string{"/place?uri=" + url.QueryEscape(attacks[0]), "/credentials/" + url.PathEscape(attacks[0]), "/" + url.PathEscape(attacks[5]), "/findings?rule=" + url.QueryEscape(attacks[0])} {
		body := h.ask(admin, address, nil).Body.String()
		h.lacks(body, dangers...)
	}
}

// hostileUses adds uses that attackers have written: they choose addresses,
// programs and names, and some of them the name of the relying party.
func (h *house) hostileUses() {
	h.Helper()
	var batch ledger.Batch
	for i, attack := range attacks {
		for _, side := range []tallystick.Side{tallystick.SideHolder, tallystick.SideRelying} {
			u := tallystick.Use{
				ID: attack, Source: attack, Side: side, Level: tallystick.Level(attack), Time: testNow.Add(-time.Duration(i+1) * 10 * time.Minute), Count: 1,
				Credential: []string{"account:" + attack, attack}, Holder: attack, RelyingParty: attack, Outcome: tallystick.Outcome(attack), Address: attack,
				Agent: attack, Operation: attack, Resource: attack, Detail: attack,
				IDs: tallystick.UseIDs{UTI: attack + string(side), Correlation: attack, Request: attack, Session: attack, Queue: attack, Serial: attack, Parent: attack, Other: map[string]string{attack: attack}},
			}
			u.Until = u.Time
			batch.Uses = append(batch.Uses, u)
			batch.Marks = append(batch.Marks, ledger.Mark{ClosingMark: tallystick.ClosingMark{Source: attack, Side: side, Closed: testNow}})
		}
		_, err := h.db.AddSource(h.Context(), store.Source{Name: attack, Kind: store.SourceFile, Side: tallystick.SideHolder, Format: attack, Path: attack, Silence: time.Second, Created: testNow.AddDate(0, 0, -1)})
		if err == nil {
			err = h.db.FailSource(h.Context(), 1, attack)
		}
		if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
			h.Fatal(err)
		}
	}
	h.tell(batch)
	h.settle()
	if err := h.db.RaiseFindings(h.Context(), []tallystick.Finding{{Rule: "silent-source", Severity: tallystick.SeverityHigh, Place: tallystick.Place("book:holder/" + attacks[0]), Evidence: attacks[1], Opened: testNow}}, testNow); err != nil {
		h.Fatal(err)
	}
}

func TestHostileUsesAreHarmless(t *testing.T) {
	h := newHouse(t)
	h.hostileUses()
	addresses := []string{"/", "/uses", "/uses?list=true", "/books", "/books/map", "/sources", "/credentials?kind=named", "/findings", "/findings?list=true"}
	list := h.page(admin, "/uses?list=true")
	for _, row := range strings.Split(list, `<td class="stamp">`)[1:] {
		addresses = append(addresses, firstMatch(h, row, `href="(/uses/[^"]+)"`), firstMatch(h, row, `href="(/credentials/[0-9a-f]{64})"`))
	}
	for _, incident := range regexp.MustCompile(`href="(/incidents/\d+)">Open`).FindAllStringSubmatch(h.page(admin, "/uses"), -1) {
		addresses = append(addresses, incident[1])
	}
	if len(addresses) < 9+2*len(attacks)+4 {
		t.Fatalf("only %d pages: %q", len(addresses), addresses)
	}
	for _, attack := range attacks {
		q := url.QueryEscape(attack)
		addresses = append(addresses, "/uses?list=true&source="+q+"&relying_party="+q+"&address="+q)
	}
	for _, address := range addresses {
		h.harmless(address)
	}
	h.contains(list, "&lt;script&gt;alert(1)&lt;/script&gt;", "safe.example[U+202E]moc.live")
	for _, key := range []string{"credential=" + url.QueryEscape("a:"+attacks[0]), "verdict=" + url.QueryEscape(attacks[1]), "range=" + url.QueryEscape(attacks[2]), "from=" + url.QueryEscape(attacks[5])} {
		h.lacks(h.ask(admin, "/uses?"+key, nil).Body.String(), dangers...)
	}
	csv := h.ask(admin, firstMatch(h, h.page(admin, "/uses"), `href="(/incidents/\d+)"`)+"/relying-parties.csv", nil)
	if disposition := csv.Header().Get("Content-Disposition"); !regexp.MustCompile(`^attachment; filename="incident-\d+-relying-parties\.csv"$`).MatchString(disposition) {
		t.Errorf("the file is sent as %q", disposition)
	}
}

// harmless fails the test for what a page must not hold.
func (h *house) harmless(address string) {
	h.Helper()
	page := h.page(admin, address)
	for _, danger := range dangers {
		page := page
		if !strings.ContainsAny(danger, `<"'`) {
			page = fields.ReplaceAllString(page, "") // which hold what was asked for, as it was asked for
		}
		if i := strings.Index(page, danger); i >= 0 {
			h.Errorf("%s has %q: …%s…", address, danger, page[max(0, i-80):min(len(page), i+120)])
		}
	}
}

// A log may hold megabytes in one field; a page stays a page.
func TestHugeUsesAreCut(t *testing.T) {
	h := newHouse(t)
	long := strings.Repeat("x\u202E<b>", 1800)
	var batch ledger.Batch
	for i := range 24 {
		u := tallystick.Use{
			ID: fmt.Sprint(i), Source: long, Side: tallystick.SideRelying, Time: testNow.Add(-time.Duration(i+1) * time.Minute), Count: 1, Level: tallystick.LevelRequest,
			Credential: []string{"account:one", "account:" + long}, RelyingParty: fmt.Sprint(long, i), Outcome: tallystick.OutcomeSuccess, Address: fmt.Sprint(long, i%20),
			Agent: long, Operation: long, Resource: long, Detail: long, IDs: tallystick.UseIDs{Request: long, Correlation: long},
		}
		u.Until = u.Time
		batch.Uses = append(batch.Uses, u)
	}
	batch.Marks = append(batch.Marks, ledger.Mark{ClosingMark: tallystick.ClosingMark{Source: "h", Side: tallystick.SideHolder, Closed: testNow.Add(time.Hour)}})
	h.tell(batch)
	h.settle()
	for _, address := range []string{
		"/", "/uses", "/uses?list=true", "/books", "/books/map", "/uses?credential=account:one&list=true", firstMatch(h, h.page(admin, "/uses?list=true"), `href="(/uses/[^"]+)"`),
		firstMatch(h, h.page(admin, "/uses?list=true"), `href="(/incidents/[^"]+)"`), firstMatch(h, h.page(admin, "/uses?list=true"), `href="(/credentials/[0-9a-f]{64})"`),
	} {
		if w := h.ask(operator, address, nil); w.Code != http.StatusOK || w.Body.Len() > 300_000 {
			t.Errorf("%s: status %d, %d bytes", address, w.Code, w.Body.Len())
		}
	}
}

// A certificate may carry megabytes of names; a page stays a page. Addresses of
// places have to stay whole, and a path has up to 4 kB, so it may be larger
// than others.
func TestHugeContentIsCut(t *testing.T) {
	h := newHouse(t)
	long := strings.Repeat("x\u202E<b>", 1800) // 10 kB and more
	var sightings []tallystick.Sighting
	for i := range 60 {
		c := tallystick.Credential{
			ID: tallystick.FingerprintOf(fmt.Append(nil, i)), Kind: tallystick.KindCertificate, Subject: "CN=" + long, Issuer: "CN=" + long, Serial: strings.Repeat("a", 5000),
			Key: tallystick.Key{ID: tallystick.KeyIDOf(fmt.Append(nil, "one")), Algorithm: "ed25519"}, NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour),
		}
		most := 100
		if i == 0 {
			most = 2000
		}
		for n := range most {
			c.Names = append(c.Names, fmt.Sprintf("%d.%s", n, long[:200]))
		}
		s := seen(c, tallystick.RoleHolds, fmt.Sprintf("/%s/%d", long[:3000], i))
		s.File.Alias, s.File.Readers, s.File.Owner = long, []string{long, long, long}, long
		sightings = append(sightings, s)
	}
	for n := range 700 { // and one of them is everywhere
		sightings = append(sightings, seen(sightings[0].Credential, tallystick.RolePresents, fmt.Sprintf("/many/%d/%s", n, long[:300])))
	}
	run := h.record("files", sightings...)
	one := "/credentials/" + string(sightings[0].Credential.ID)
	for _, address := range []string{"/", "/credentials", one, "/places", "/findings?list=true", "/findings", fmt.Sprintf("/runs/%d", run.ID),
		"/place?uri=" + url.QueryEscape(string(sightings[0].Place)), "/credentials?place=" + url.QueryEscape(string(sightings[0].Place))} {
		if w := h.ask(operator, address, nil); w.Code != http.StatusOK || w.Body.Len() > 500_000 {
			t.Errorf("%s: status %d, %d bytes", address, w.Code, w.Body.Len())
		}
	}
	h.contains(h.ask(operator, one, nil).Body.String(), "and 1,960 more", "or more.", "59 more with this key")
}
