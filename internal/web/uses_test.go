// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
)

func TestUsesOfNothing(t *testing.T) {
	h := newHouse(t)
	h.contains(h.page(viewer, "/uses"), "In the last week: nothing was recorded.", "No use was recorded in the last week.", `href="/books"`)
	h.contains(h.page(viewer, "/books"), "Nobody tells about uses yet.", "tally source add")
	h.contains(h.page(viewer, "/books/map"), "No use was recorded yet.")
}

func TestUses(t *testing.T) {
	h := newHouse(t)
	h.used()
	page := h.page(viewer, "/uses")
	h.contains(page,
		`">14 foreign uses</a>, <a`, "1 use</a> made here and not seen there and 3 uses that wait for a book", `href="/books">1 book is silent</a>, so not everything is known.`,
		`<path class="u-foreign"`, `fill="url(#hatch)"`, `<rect class="u-loose"`, "<title>2026-11-21 06:00: 6 made here, 13 accepted there, 7 foreign</title>",
		">As a table<", `aria-current="true">Last week</a>`,
		"14 foreign uses</span> of <a", "mail-sync.vendor.example", "at 4 relying parties from 2 addresses", "Open the incident",
	)
	h.lacks(page, "<td data-label=\"Verdict\">") // records are a click away
	// A number leads to the list that it counts.
	list := h.page(viewer, firstMatch(h, page, `href="([^"]+)" class="loud">14 foreign`))
	if n := strings.Count(list, "<tr class=\"loud-row\">"); n != 14 {
		t.Errorf("the list of 14 has %d", n)
	}
	h.contains(list, thiefAddress, "2001:db8:bad::7", "entra:customer-2.example/graph", `<span class="muted">Verdict</span> foreign`)
	// A bar leads to the same view of its hour.
	h.contains(h.page(viewer, firstMatch(h, page, `href="([^"]+)"><title>2026-11-21 06:00: `)), ">7 foreign uses</a>.", "<title>2026-11-21 06:00: 6 made")
	// The first hour of the last day is whole, and so is its list.
	if n := strings.Count(h.page(viewer, "/uses?range=day&verdict=foreign"), "loud-row"); n != 0 {
		t.Errorf("%d foreign uses of yesterday morning are in the last day", n)
	}
	h.contains(h.page(viewer, "/uses?range=hour"), "In the last hour: both sides saw every one of")
}

func TestUsesFilters(t *testing.T) {
	h := newHouse(t)
	id := string(h.used().ID)
	for address, want := range map[string]int{
		"/uses?list=true": 15, "/uses?address=" + thiefAddress: 8, "/uses?relying_party=entra:customer-5.example/graph": 2, "/uses?side=holder&list=true": 1,
		"/uses?source=entra&range=day": 0, "/uses?verdict=foreign&from=2026-11-21T07:00:00Z&to=2026-11-22": 7,
		"/uses?credential=" + id + "&verdict=pending": 0, "/uses?credential=" + url.QueryEscape(backupAccount) + "&verdict=pending": 3,
		"/uses?credential=" + id + "&verdict=matched&from=2026-11-20T10:00:00Z&to=2026-11-20T11:00:00Z": 22,
	} {
		if n := strings.Count(h.page(viewer, address), `<td data-label="Verdict">`); n != want {
			t.Errorf("%s lists %d records, want %d", address, n, want)
		}
	}
	page := h.page(viewer, "/uses?address="+thiefAddress+"&range=month")
	h.contains(h.page(viewer, firstMatch(h, page, `class="chip" href="([^"]+)"`)), "In the last month: ", `aria-current="true">Last month</a>`)
	for _, wrong := range []string{"range=year", "from=yesterday", "from=2026-11-22&to=2026-11-21", "verdict=bad", "verdict=matched", "from=2020-01-01", "credential=x5t:00"} {
		if w := h.ask(viewer, "/uses?list=true&"+wrong, nil); w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", wrong, w.Code)
		}
	}
}

func TestUsesPaging(t *testing.T) {
	h := newHouse(t)
	id := string(h.used().ID)
	page := h.page(viewer, "/uses?credential="+id+"&list=true")
	seen := map[string]bool{}
	for n := 0; ; n++ {
		for _, row := range strings.Split(page, `<td class="stamp">`)[1:] {
			key := firstMatch(h, row, `href="(/uses/[^"]+)"`)
			if seen[key] {
				t.Fatalf("page %d has %s again", n, key)
			}
			seen[key] = true
		}
		if !strings.Contains(page, `rel="next"`) {
			break
		}
		page = h.page(viewer, firstMatch(h, page, `href="([^"]+)" rel="next"`))
	}
	if len(seen) != 2703 {
		t.Errorf("%d records in all", len(seen))
	}
}

func TestIncident(t *testing.T) {
	h := newHouse(t)
	c := h.used()
	address := firstMatch(h, h.page(viewer, "/uses"), `class="button primary" href="(/incidents/\d+)"`)
	page := h.page(viewer, address)
	h.contains(page,
		"<h1>Foreign uses of mail-sync.vendor.example</h1>", ">14 uses</strong> that nobody here made, at 4 relying parties from 2 addresses",
		`href="/credentials/`+string(c.ID)+`">Open the credential</a>`, "1 holder&#39;s book is silent", "backup-agent",
		thiefAddress, "What to do next", "What the holder did at that time", "mail-sync-eu-1", ">matched</span>", "<svg class=\"mirror\"",
	)
	// Each record leads to its page, and each number to what it counts.
	h.contains(h.page(viewer, firstMatch(h, page, `class="stamp"><a href="(/uses/[^"]+)"`)), "was accepted there and not made here")
	by := h.page(viewer, firstMatch(h, page, `href="([^"]+)">198.51.100.9</a>`))
	if n := strings.Count(by, "loud-row"); n != 8 {
		t.Errorf("%d records by the address, want 8", n)
	}
	h.contains(h.page(viewer, firstMatch(h, page, `class="button" href="([^"]+)">All that it did`)), ">matched</span>")
	for _, wrong := range []string{"/incidents/999999", "/incidents/x"} {
		if w := h.ask(viewer, wrong, nil); w.Code != http.StatusNotFound && w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", wrong, w.Code)
		}
	}
}

// Who has to be told is a file for a spreadsheet.
func TestRelyingPartiesAsCSV(t *testing.T) {
	h := newHouse(t)
	c := h.used()
	address := firstMatch(h, h.page(viewer, "/uses"), `href="(/incidents/\d+)"`) + "/relying-parties.csv"
	for _, address := range []string{address, "/credentials/" + string(c.ID) + "/relying-parties.csv"} {
		w := h.ask(viewer, address, nil)
		lines := strings.Split(strings.TrimSpace(w.Body.String()), "\r\n")
		if w.Code != http.StatusOK || len(lines) != 8 || lines[0] != "relying_party,foreign,accepted,made,first_use,last_use" ||
			!strings.HasPrefix(lines[1], "entra:customer-") || strings.Split(lines[1], ",")[1] != "4" || !strings.HasSuffix(w.Header().Get("Content-Disposition"), `-relying-parties.csv"`) {
			t.Errorf("%s: %d %s\n%s", address, w.Code, w.Header(), w.Body)
		}
	}
	h.contains(h.page(admin, "/audit"), "relying parties of incident-")
}

func TestUse(t *testing.T) {
	h := newHouse(t)
	id := string(h.used().ID)
	foreign := firstMatch(h, h.page(viewer, "/uses?verdict=foreign"), `href="(/uses/[^"]+)"`)
	page := h.page(operator, foreign)
	h.contains(page, ">foreign</span>", "was accepted there and not made here", "Why: ", "its id (uti) is in no holder&#39;s record", "Open its incident",
		"No record on this side.", `<rect class="half missing" x="1"`, "python-requests/2.32", "stolen-", `data-copy="0b6f7e2c-1111-4222-8333-944455566677"`, "entra:customer-4.example/graph",
		"It is not kept")
	h.contains(h.page(viewer, foreign), "Operators and administrators can read it here.")
	matched := firstMatch(h, h.page(viewer, "/uses?credential="+id+"&verdict=matched&from=2026-11-20T10:00:00Z&to=2026-11-20T11:00:00Z"), `href="(/uses/[^"]+)"`)
	page = h.page(viewer, matched)
	h.contains(page, "Both sides saw it", "The holder: made here", "mail-sync-eu-1", "Open this half", "203.0.113.7")
	h.lacks(page, "half missing", "No record on this side.")
	// The other half is a page of its own, which leads back.
	h.contains(h.page(viewer, firstMatch(h, page, `href="(/uses/[^"]+)">Open this half`)), "Both sides saw it", "Open this half")
	loose := firstMatch(h, h.page(viewer, "/uses?verdict=unconfirmed"), `href="(/uses/[^"]+)"`)
	h.contains(h.page(viewer, loose), "made here and not seen there", `<rect class="half missing" x="50.25%"`)
	if w := h.ask(viewer, "/uses/0123", nil); w.Code != http.StatusBadRequest {
		t.Errorf("a key that is none: status %d", w.Code)
	}
	if w := h.ask(viewer, "/uses/00000000000000000000000000000000", nil); w.Code != http.StatusNotFound {
		t.Errorf("an unknown record: status %d", w.Code)
	}
}

// What a record was read from is shown as it was, to those who may see it.
func TestUseAsReceived(t *testing.T) {
	h := newHouse(t)
	h.used()
	address := firstMatch(h, h.page(viewer, "/uses?verdict=foreign"), `href="(/uses/[^"]+)"`)
	id := firstMatch(h, h.page(viewer, address), `data-copy="(stolen-\d+)"`)
	source, err := h.db.Source(t.Context(), "entra")
	if err != nil {
		t.Fatal(err)
	}
	at := testNow.AddDate(0, 0, -1)
	lines := [][]byte{[]byte(`{"id":"entra-` + strings.TrimPrefix(id, "stolen-") + `","uti":"` + id + `","userAgent":"<script>alert(1)</script>\u202E"}`), []byte(`{"id":"another"}`)}
	if err := h.received.Append(t.Context(), source.ID, at.Add(-48*time.Hour), at.Add(24*time.Hour), lines); err != nil {
		t.Fatal(err)
	}
	page := h.page(operator, address)
	h.contains(page, "&lt;script&gt;alert(1)&lt;/script&gt;", "&#34;uti&#34;:&#34;"+id)
	h.lacks(page, "another", "<script>alert")
	h.lacks(h.page(viewer, address), "alert(1)")
	h.contains(h.page(admin, "/audit"), "read-raw")
}

func TestCredentialUses(t *testing.T) {
	h := newHouse(t)
	c := h.used()
	page := h.page(viewer, "/credentials/"+string(c.ID))
	h.contains(page, `<section class="card" id="uses">`, "7 relying parties</h3>", "entra:customer-7.example/graph", "4</a>", "Open the incident", `<svg class="mirror"`,
		`aria-current="true">Last month</a>`, "Somebody else used the credential")
	if n := strings.Count(h.page(viewer, firstMatch(h, page, `class="severity s-critical" href="([^"]+)"`)), "loud-row"); n != 4 {
		t.Errorf("the four foreign uses at a relying party are %d", n)
	}
	h.contains(h.page(viewer, firstMatch(h, page, `<td class="name"><a href="(/uses[^"]+)"`)), "the axis above is about the whole credential", "<span class=\"muted\">Relying party</span> entra:customer-3.example/graph")
	h.contains(h.page(viewer, "/credentials/"+string(c.ID)+"?range=day"), `aria-current="true">Last day</a>`)
	h.contains(h.page(viewer, firstMatch(h, page, `href="([^"]+)">Records</a>`)), "14 foreign uses", ">matched</span>")
	key := h.page(viewer, "/credentials/"+string(keyOf(c).ID))
	h.contains(key, "Nobody has told of a use of it.")
}

// A vendor's key opens thousands of tenants: the page has room for 30, and where it
// was stolen from comes first.
func TestForeignUsesOfAVendorAreNotCutOff(t *testing.T) {
	h := newHouse(t)
	c := h.used()
	list, err := h.db.UsedOf(t.Context(), c.ID)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	of, at := list[0].ID, testNow.AddDate(0, 0, -50)
	var connections []store.UseConnection
	for i := range 200 {
		connections = append(connections, store.UseConnection{Used: of, Party: fmt.Sprintf("entra:a%03d.example/graph", i), First: at, Last: testNow, Holder: 9, Relying: 9})
	}
	if err := h.db.SaveWatched(t.Context(), store.Watched{Connections: connections}); err != nil {
		t.Fatal(err)
	}
	stolen := store.Verdict{
		Record: "stolen", Used: of, Verdict: tallystick.VerdictForeign, Uses: 40, Time: at, Side: tallystick.SideRelying, Party: "entra:a150.example/graph", Said: at, Use: "{}",
	}
	if err := h.db.SaveVerdicts(t.Context(), []store.Verdict{stolen}, nil); err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(h.page(viewer, "/credentials/"+string(c.ID)), `<td class="name"><a href="/uses?`)
	if len(rows) != 31 || !strings.Contains(rows[1], "a150.example") || !strings.Contains(rows[2], "customer-") || !strings.Contains(rows[30], "entra:a0") {
		t.Errorf("%d rows: %q", len(rows)-1, rows[1:])
	}
}

// What is listed is of the time that is asked for, however many came later.
func TestIncidentsOfLongAgo(t *testing.T) {
	h := newHouse(t)
	list, err := h.db.UsedOf(t.Context(), h.used().ID)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	var said []store.Verdict
	for i := range 15 {
		at := testNow.AddDate(0, 0, -90+3*i)
		said = append(said, store.Verdict{
			Record: fmt.Sprint("old", i), Used: list[0].ID, Verdict: tallystick.VerdictForeign, Uses: 1, Time: at, Side: tallystick.SideRelying, Party: "entra:a.example/graph", Said: at, Use: "{}",
		})
	}
	if err := h.db.SaveVerdicts(t.Context(), said, nil); err != nil {
		t.Fatal(err)
	}
	page := h.page(viewer, "/uses?from="+testNow.AddDate(0, 0, -91).Format(time.DateOnly)+"&to="+testNow.AddDate(0, 0, -86).Format(time.DateOnly))
	if n := strings.Count(page, "Open the incident"); n != 2 {
		t.Errorf("%d incidents of that time, want 2", n)
	}
	all := h.page(viewer, "/uses?from="+testNow.AddDate(0, 0, -91).Format(time.DateOnly)+"&to="+testNow.Format(time.DateOnly))
	h.contains(all, "and 6 earlier in this time")
}

// What nobody has seen, and logs name, is a credential too.
func TestNamedCredential(t *testing.T) {
	h := newHouse(t)
	h.used()
	list := h.page(viewer, "/credentials?kind=named")
	h.contains(list, "1 match", backupAccount, `<option selected>named</option>`, `aria-current="true">Known by uses alone</a>`, `<td data-label="Kind">named</td>`)
	page := h.page(viewer, firstMatch(h, list, `href="(/credentials/[0-9a-f]{64})"`))
	h.contains(page, "<h1>"+backupAccount+"</h1>", "named, known by its uses alone", "never seen", "Its holder records uses of it", "ldap:dc1.example.net:636", "No look has seen it.", "1 relying party</h3>")
	h.lacks(page, "gone from everywhere", "Nobody was seen to hold", "No place was seen to let it in", "half missing")
	h.contains(h.page(viewer, "/credentials?q=account:ldap&kind=named"), backupAccount)
}

func TestBooks(t *testing.T) {
	h := newHouse(t)
	h.used()
	page := h.page(viewer, "/books")
	h.contains(page, "No: 1 book is silent.", "It was last heard 10 hours ago", "See whether its writer runs", "3 records could not be read.", "/var/log/slapd.log:10412", "10 minutes behind", "entra-signin")
	if strings.Index(page, "It was last heard") > strings.Index(page, "could not be read.") {
		t.Error("what is silent does not come first")
	}
	h.contains(h.page(viewer, firstMatch(h, page, `<td class="name"><a href="(/uses\?[^"]+entra)"`)), "14 foreign uses")
}

func TestBookMap(t *testing.T) {
	h := newHouse(t)
	h.used()
	page := h.page(viewer, "/books/map")
	h.contains(page, "Both sides tell about every one of 8 relying parties.", "<strong>7 relying parties</strong>", "14 foreign", "and 1 more", "silent")
	h.lacks(page, "Nobody tells us")
	week, batch := usesOfWeek{n: 1 << 20}, ledger.Batch{}
	week.one(&batch, "entra", tallystick.SideRelying, testNow.AddDate(0, 0, -1), "entra:customer-99.example/graph", "x5t:00000000000000000000000000000000000000ff", "203.0.113.9")
	h.tell(batch)
	h.settle()
	page = h.page(viewer, "/books/map")
	h.contains(page, "1 relying party lacks a side", "Nobody tells us about this side.", "entra:customer-99.example/graph")
	if strings.Index(page, "customer-99") > strings.Index(page, "customer-2.") {
		t.Error("what lacks a side does not come first")
	}
}

func TestOverviewTellsOfUses(t *testing.T) {
	h := newHouse(t)
	h.used()
	page := h.page(viewer, "/")
	h.contains(page, `">14 foreign uses</a> in 1 incident, <a href="/books">1 book</a> is silent`)
	h.contains(h.page(viewer, firstMatch(h, page, `href="([^"]+)">14 foreign`)), "Foreign uses of mail-sync")
}

// A finding about a book or an account of a directory has no credential.
func TestFindingsAboutNoCredential(t *testing.T) {
	h := newHouse(t)
	list := []tallystick.Finding{
		{Rule: "silent-source", Severity: tallystick.SeverityHigh, Place: "book:holder/backup-agent", Evidence: "last heard on 2026-11-22 02:00 UTC", Opened: testNow},
		{Rule: "book-gap", Severity: tallystick.SeverityMedium, Place: "entra-app:t1/o1", Evidence: "records 7 to 9 are missing", Opened: testNow},
	}
	if err := h.db.RaiseFindings(t.Context(), list, testNow); err != nil {
		t.Fatal(err)
	}
	h.contains(h.page(viewer, "/findings"), "/findings?rule=silent-source", "/findings?rule=book-gap")
	for _, address := range []string{"/findings?list=true", "/findings?severity=medium", "/findings?assignee=-", "/findings?owner=-"} {
		page := h.page(operator, address)
		h.contains(page, `<a href="/books">book backup-agent (holder)</a>`, "entra-app:t1/o1", "last heard on 2026-11-22 02:00 UTC")
		h.lacks(page, `href="/credentials/"`, `href="/place?uri=book`)
	}
	page := h.page(operator, "/findings?rule=silent-source")
	h.contains(page, "book backup-agent (holder)", "1 open")
	accept := firstMatch(h, page, `action="(/findings/\d+/accept)"`)
	h.contains(h.post(operator, accept, url.Values{"reason": {"a test"}, "until": {"2026-12-24"}, "back": {"/findings?state=accepted"}}), "book backup-agent (holder)", "Accepted by otto")
}

func TestAFindingLeadsToItsUses(t *testing.T) {
	h := newHouse(t)
	c := h.used()
	found := tallystick.Finding{Rule: "foreign-use", Severity: tallystick.SeverityCritical, Credential: c.ID, Evidence: "not made by its holder"}
	if err := h.db.RaiseFindings(t.Context(), []tallystick.Finding{found}, testNow); err != nil {
		t.Fatal(err)
	}
	link := firstMatch(h, h.page(viewer, "/findings?rule=foreign-use"), `href="(/uses\?credential=[^"]+)">See the uses`)
	h.contains(h.page(viewer, html.UnescapeString(link)), thiefAddress, "loud-row")
}
