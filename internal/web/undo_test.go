// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wire "github.com/go-ldap/ldap/v3"

	"github.com/chromedp/chromedp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/web"
)

// A watched is a directory in which somebody has changed something, and a house that has seen it.
type watched struct {
	*house
	slapd   *lab.Slapd
	pki     *lab.PKI
	account string // that was changed
	options map[string]string
}

// watched starts a directory, adds a certificate to an account of it, and has the house told.
func (h *house) watched() *watched {
	h.Helper()
	p := lab.NewPKI(h)
	w := &watched{house: h, slapd: lab.StartSlapd(h, lab.SlapdSettings{PKI: p}), pki: p}
	w.account = "uid=alice," + w.slapd.People
	w.options = map[string]string{"url": "ldapi://" + w.slapd.Socket, "external": "true", "every": "100ms"}
	w.source(w.options)
	change := w.follow(func() { w.add(1) })
	change.Source, change.Time = "people", testNow.Add(-time.Hour)
	if err := h.directory.Take(h.Context(), []tallystick.Change{change}); err != nil {
		h.Fatal(err)
	}
	return w
}

// add gives the account some certificates more.
func (w *watched) add(n int) {
	w.Helper()
	var more []string
	for range n {
		more = append(more, string(w.pki.Client(w, "mallory").Chain[0]))
	}
	request := wire.NewModifyRequest(w.account, nil)
	request.Add("userCertificate;binary", more)
	if err := w.dial().Modify(request); err != nil {
		w.Fatal(err)
	}
}

// source has the directory be read with these options.
func (w *watched) source(options map[string]string) {
	w.Helper()
	w.noSource()
	_, err := w.db.AddSource(w.Context(), store.Source{Name: "people", Kind: store.SourceDriver, Driver: "ldap", Side: tallystick.SideRelying, Options: options})
	if err != nil {
		w.Fatal(err)
	}
}

// noSource has nobody read the directory.
func (w *watched) noSource() {
	w.Helper()
	old, err := w.db.Source(w.Context(), "people")
	if errors.Is(err, tallystick.ErrNotFound) {
		return
	}
	if err == nil {
		err = w.db.RemoveSource(w.Context(), old.ID)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// follow watches the directory until what was done shows.
func (w *watched) follow(do func()) tallystick.Change {
	w.Helper()
	opened, err := ldap.Driver().Open(w.options)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	var seen []tallystick.Change
	follower := directory.Follower{
		Watcher: opened.(driver.Watcher), Now: time.Now, Ready: func(int) { do() },
		Told: func(c tallystick.Change) error {
			seen = append(seen, c)
			cancel()
			return nil
		},
		Trouble: func(trouble driver.WatchTrouble) { w.Error(trouble.Err) },
	}
	if err := follower.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		w.Fatal(err)
	}
	if len(seen) != 1 {
		w.Fatalf("%d changes were seen", len(seen))
	}
	return seen[0]
}

func (w *watched) dial() *wire.Conn {
	w.Helper()
	raw, err := net.Dial("unix", w.slapd.Socket)
	if err != nil {
		w.Fatal(err)
	}
	conn := wire.NewConn(raw, false)
	conn.Start()
	w.Cleanup(func() { conn.Close() })
	if err := conn.ExternalBind(); err != nil {
		w.Fatal(err)
	}
	return conn
}

// holds fails the test unless the account has so many certificates.
func (w *watched) holds(want int) {
	w.Helper()
	found, err := w.dial().Search(wire.NewSearchRequest(w.account, wire.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", []string{"userCertificate"}, nil))
	if err != nil || len(found.Entries) != 1 {
		w.Fatal(found, err)
	}
	if n := len(found.Entries[0].GetRawAttributeValues("userCertificate;binary")); n != want {
		w.Errorf("the account has %d certificates, want %d", n, want)
	}
}

// undoURL is where the list leads to take the change back.
func (w *watched) undoURL() string {
	w.Helper()
	return firstMatch(w.house, w.page(admin, "/directory"), `href="(/directory/changes/\d+/undo)">Take it back`)
}

func TestAChangeIsTakenBackOnThePage(t *testing.T) {
	w := newHouse(t, ldap.Driver()).watched()
	undo := w.undoURL()
	confirm := w.page(admin, undo)
	w.contains(confirm, "This writes <code>userCertificate</code> of <strong>"+w.account+"</strong>, and nothing else.", "taken away", "<dt>Will be</dt><dd><span class=\"muted\">nothing</span>",
		"<code>url="+w.options["url"]+"</code>", "<code>external=true</code>", "with the driver ldap", `<form method="post" action="`+undo+`">`, "nobody is named")
	w.holds(1)
	var list string
	back := w.follow(func() { list = w.post(admin, undo, url.Values{}) })
	w.contains(list, "The change is taken back. It stays on this list", `href="`+undo+`">`)
	w.lacks(list, ">taken back<")
	w.holds(0)
	log := w.page(admin, "/audit")
	w.contains(log, "undo-change", " of ldap:", ", only to look")
	if n := strings.Count(log, ", only to look"); n != 1 { // before; the list asks nobody
		t.Errorf("it was looked %d times", n)
	}
	again := w.ask(admin, undo, url.Values{})
	if location := again.Header().Get("Location"); again.Code != http.StatusSeeOther || location != undo {
		t.Errorf("once more: status %d to %q", again.Code, location)
	}
	page := w.page(admin, undo)
	w.contains(page, "there is nothing to take back")
	w.lacks(page, "<form method=\"post\" action=\""+undo, "The change is taken back.")
	expected, err := w.directory.Expected(t.Context(), admin)
	if err != nil || len(expected) != 1 || expected[0].By != admin.Name {
		t.Errorf("%+v %v: the removal alarms", expected, err)
	}
	back.Source, back.Time = "people", testNow
	if err := w.directory.Take(t.Context(), []tallystick.Change{back}); err != nil {
		t.Fatal(err)
	}
	told := w.page(admin, "/directory")
	w.contains(told, `<span class="tag">taken back</span>`, `<span class="tag">expected</span>`)
	w.lacks(told, `href="`+undo+`"`)
}

// Of an attribute with many values the page says how many it does not show, and has what is taken away.
func TestManyValuesAreCounted(t *testing.T) {
	w := newHouse(t, ldap.Driver()).watched()
	w.add(60)
	page := w.page(admin, w.undoURL())
	w.contains(page, "and 11 more", "and 10 more")
	if n := strings.Count(page, "taken away"); n != 1 {
		t.Errorf("%d values are taken away:\n%s", n, page)
	}
}

func TestWhoMayNotTakesNothingBack(t *testing.T) {
	w := newHouse(t, ldap.Driver()).watched()
	undo := w.undoURL()
	w.lacks(w.page(operator, "/directory"), "Take it back</a>")
	for _, form := range []url.Values{nil, {}} {
		if answer := w.ask(operator, undo, form); answer.Code != http.StatusForbidden {
			t.Errorf("an operator, form %v: status %d", form, answer.Code)
		}
	}
	w.contains(w.page(admin, "/audit"), "undo-change", "needs the role admin")
	link, err := w.access.FirstLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secret, _, err := w.access.Redeem(t.Context(), link, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	post := func(site string) int {
		r := httptest.NewRequest(http.MethodPost, undo, strings.NewReader(""))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", site)
		r.AddCookie(&http.Cookie{Name: web.SessionCookie, Value: secret})
		answer := httptest.NewRecorder()
		w.behindCookies().ServeHTTP(answer, r)
		return answer.Code
	}
	if code := post("cross-site"); code != http.StatusForbidden {
		t.Errorf("another site takes it back: status %d", code)
	}
	w.holds(1)
	if code := post("same-origin"); code != http.StatusSeeOther {
		t.Errorf("the page itself: status %d", code)
	}
	w.holds(0)
}

// Whoever takes a change back is told what the directory says, or that it says nothing.
func TestWhatTheDirectoryRefusesIsTold(t *testing.T) {
	w := newHouse(t, ldap.Driver()).watched()
	undo := w.undoURL()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(lab.SlapdPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.source(map[string]string{"url": w.options["url"], "external": "true", "write-bind": "uid=bob," + w.slapd.People, "write-password-file": password})
	w.contains(w.page(admin, undo), "This writes", "<code>write-bind=uid=bob,")
	refused := w.ask(admin, undo, url.Values{})
	if refused.Code != http.StatusForbidden {
		t.Errorf("status %d", refused.Code)
	}
	w.contains(refused.Body.String(), "It is not known to be taken back.", "Insufficient Access Rights", "add it again, with write-bind", ">Look again</a>")
	w.lacks(refused.Body.String(), lab.SlapdPassword)
	w.contains(w.page(admin, "/audit"), ", userCertificate of uid=", "Insufficient Access Rights")
	w.holds(1)

	w.source(map[string]string{"url": "ldap://" + lab.Loopback(lab.FreePort(t)), "plain": "true"})
	for _, form := range []url.Values{nil, {}} {
		unreached := w.ask(admin, undo, form)
		if unreached.Code != http.StatusServiceUnavailable {
			t.Errorf("status %d", unreached.Code)
		}
		w.contains(unreached.Body.String(), "connection refused", "see that this machine reaches the directory", ">Look again</a>")
		w.lacks(unreached.Body.String(), "This writes")
	}
	w.noSource()
	gone := w.ask(admin, undo, nil)
	w.contains(gone.Body.String(), "Nothing was changed.", "add it again under that name")
	w.holds(1)

	for path, want := range map[string]int{"/directory/changes/4711/undo": http.StatusNotFound, "/directory/changes/x/undo": http.StatusBadRequest} {
		if answer := w.ask(admin, path, nil); answer.Code != want {
			t.Errorf("%s: status %d", path, answer.Code)
		}
	}
}

// Of what a log told nobody knows what stood there before.
func TestWhatALogToldIsNotTakenBack(t *testing.T) {
	h := newHouse(t)
	h.changed(h.used())
	h.lacks(h.page(admin, "/directory"), "Take it back</a>")
	list, _, err := h.directory.Changes(t.Context(), admin, store.AccessFilter{}, store.PageRequest{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	answer := h.ask(admin, fmt.Sprintf("/directory/changes/%d/undo", list.Items[0].ID), nil)
	if answer.Code != http.StatusBadRequest {
		t.Errorf("status %d", answer.Code)
	}
	h.contains(answer.Body.String(), "does not say what stood there before", "others have to be taken back by hand")
}

// By keyboard and on a telephone.
func TestBrowserTakesAChangeBack(t *testing.T) {
	w := newHouse(t, ldap.Driver()).watched()
	b := w.newBrowser()
	b.signIn()
	undo := w.undoURL()
	b.shows([]string{undo})
	if dir := *screenshots; dir != "" && *further {
		for _, one := range []picture{{"undo", undo, look{"desktop", 1280, 900, false}}, {"undo-phone", undo, looks[1]}, {"undo-list", "/directory", look{"desktop", 1280, 900, false}}} {
			b.take(one, dir)
		}
	}
	b.open("/directory")
	b.do("to the page", chromedp.Focus(`a[href="`+undo+`"]`), chromedp.KeyEvent("\r"), chromedp.WaitVisible(`form[action="`+undo+`"]`))
	b.do("take it back", chromedp.Focus(`form[action="`+undo+`"] button`), chromedp.KeyEvent("\r"), chromedp.WaitVisible(".notice"))
	w.holds(0)
	b.calm("undo")
}
