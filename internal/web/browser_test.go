// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/web"
)

// A browser is a window of a real Chromium at a real server of a house.
type browser struct {
	*house
	server *httptest.Server
	tab    context.Context

	mu       sync.Mutex
	problems []string // guarded by mu; what went wrong in the browser
}

// newBrowser starts the server and opens the window. Whatever the browser asks of another
// host fails the test, and so does whatever it complains about.
func (h *house) newBrowser() *browser {
	h.Helper()
	if err := chromium.start(); err != nil {
		h.Fatal(err)
	}
	b := &browser{house: h, server: httptest.NewTLSServer(h.behindCookies())}
	tab, closeTab := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.listen))
	b.tab = tab
	h.Cleanup(func() {
		closeTab()
		b.server.CloseClientConnections() // those that the browser keeps
		b.server.Close()
	})
	b.do("start", command(network.Enable, network.EnableParams{}), command(log.Enable, cdp.Empty{}))
	return b
}

// behindCookies is the site as package server has it: the session says who asks.
func (h *house) behindCookies() http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var actor gate.Actor
		if cookie, err := r.Cookie(web.SessionCookie); err == nil {
			// A request of a page that the browser has left ends with its context, and nothing has failed.
			if actor, err = h.access.Session(r.Context(), cookie.Value); err != nil && !errors.Is(err, tallystick.ErrUnsigned) && r.Context().Err() == nil {
				h.Error(err)
			}
		}
		h.mux.ServeHTTP(w, r.WithContext(web.WithActor(r.Context(), actor)))
	}))
}

// listen takes what the browser reports.
func (b *browser) listen(event any) {
	var problem string
	switch event := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = "exception: " + event.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		problem = fmt.Sprintf("console.%s was called", event.Type)
	case *log.EventEntryAdded:
		problem = fmt.Sprintf("%s: %s: %s", event.Entry.Level, event.Entry.Source, event.Entry.Text)
	case *network.EventRequestWillBeSent:
		// The browser paints its own date fields with data: addresses.
		u, err := url.Parse(event.Request.URL)
		if err != nil || !strings.HasPrefix(event.Request.URL, b.server.URL) && u.Scheme != "about" && u.Scheme != "data" {
			problem = "request beyond the server: " + event.Request.URL
		}
	case *network.EventLoadingFailed:
		if !event.Canceled {
			problem = "a request failed: " + event.ErrorText
		}
	}
	if problem != "" {
		b.mu.Lock()
		b.problems = append(b.problems, problem)
		b.mu.Unlock()
	}
}

// calm fails the test for what the browser has complained about since the last call.
func (b *browser) calm(where string) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, problem := range b.problems {
		b.Errorf("%s: %s", where, problem)
	}
	b.problems = nil
}

// command makes an action of a command of the protocol.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// patience is how long the browser may take, on a machine that has much else to do.
const patience = 2 * time.Minute

// run runs an action, which must succeed in time.
func run[T any](b *browser, what string, action chromedp.Action[T]) T {
	b.Helper()
	var result T
	var err error
	// Not a deadline of the context: the browser would end with it.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		result, err = chromedp.Run(b.tab, action)
	}()
	select {
	case <-ended:
		if err != nil {
			b.Fatalf("%s: %v", what, err)
		}
	case <-time.After(patience):
		b.Fatalf("%s: not done after %s", what, patience)
	}
	return result
}

// do runs actions one after the other.
func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	run(b, what, chromedp.Steps(steps...))
}

// open shows a page.
func (b *browser) open(path string) {
	b.Helper()
	b.do("open "+path, chromedp.Navigate(b.server.URL+path))
}

// evaluate returns what an expression of JavaScript is on the page.
func evaluate[T any](b *browser, expression string) T {
	b.Helper()
	return run(b, expression, chromedp.Evaluate[T](expression))
}

// until waits for an expression to be true. (chromedp.Poll makes code of text,
// which the policy of the pages forbids.)
func (b *browser) until(expression string) {
	b.Helper()
	for end := time.Now().Add(patience); !evaluate[bool](b, expression); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("not so after %s: %s", patience, expression)
		}
	}
}

// signIn comes in as the administrator, as a person would.
func (b *browser) signIn() {
	b.Helper()
	link, err := b.access.FirstLink(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.open("/sign-in/" + link)
	b.do("sign in", chromedp.Click("main button"), chromedp.WaitVisible("nav"))
	b.calm("sign in")
}

// A look is a size of a window.
type look struct {
	name   string
	width  int64
	height int64
	phone  bool
}

var looks = []look{{"desktop", 1280, 800, false}, {"phone", 390, 844, true}}

func (b *browser) as(l look) {
	b.Helper()
	viewport := []chromedp.EmulateViewportOption{}
	if l.phone {
		viewport = append(viewport, chromedp.EmulateMobile, chromedp.EmulateScale(2))
	}
	b.do("look "+l.name, chromedp.EmulateViewport(l.width, l.height, viewport...))
}

// in shows the page in a colour scheme, light or dark.
func (b *browser) in(scheme string) {
	b.Helper()
	b.do(scheme, command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}))
}

// pageList are all pages, of a house with something in it.
func pageList(h *house) []string {
	h.Helper()
	credential := firstMatch(h, h.page(admin, "/credentials"), `href="(/credentials/[0-9a-f]{64})"`)
	place := firstMatch(h, h.page(admin, "/places"), `href="(/place\?uri=[^"]+)"`)
	return []string{
		"/", "/credentials", "/credentials?kind=certificate&severity=low", credential, "/places", place, "/findings", "/findings?rule=no-owner",
		"/networks", "/network?name=10.0.2.0/24", changesOf(h), "/findings?severity=high", "/runs", "/runs/" + firstMatch(h, h.page(admin, "/runs"), `href="/runs/(\d+)"`),
		"/uses", "/uses?range=hour", "/uses?list=true", "/books", "/books/map", "/sources", "/directory", "/directory?unexpected=true&expect=entra-app:t/1", "/directory?kind=setting",
		"/audit?verify=true", "/access", "/sign-in", "/credentials?q=nothing-like-this", "/credentials?sort=expires",
	}
}

// usePages are the pages about what was used.
func usePages(h *house, used tallystick.Credential) []string {
	h.Helper()
	uses, named := h.page(admin, "/uses?list=true"), h.page(admin, "/credentials?kind=named")
	return []string{
		"/credentials/" + string(used.ID), firstMatch(h, named, `href="(/credentials/[0-9a-f]{64})"`),
		firstMatch(h, uses, `href="(/incidents/\d+)"`), firstMatch(h, uses, `class="stamp"><a href="(/uses/[^"]+)"`),
		firstMatch(h, h.page(admin, "/uses?verdict=matched&credential="+string(used.ID)), `class="stamp"><a href="(/uses/[^"]+)"`),
	}
}

// changesOf is the list of what the newest run changed.
func changesOf(h *house) string {
	h.Helper()
	run := firstMatch(h, h.page(admin, "/runs"), `href="(/runs/\d+)"`)
	return firstMatch(h, h.page(admin, run), `href="(/runs/\d+/changes[^"]+)"`)
}

// overflow says how far the page is wider than the window, and by which element.
// The width of a phone is given, because its browser zooms out to what is there.
func (b *browser) overflow(width int64) string {
	b.Helper()
	return evaluate[string](b, fmt.Sprintf(`(() => {
		const wide = document.documentElement.scrollWidth - %[1]d;
		if (wide <= 0) return "";
		const guilty = [...document.querySelectorAll("main *")].find((e) => e.getBoundingClientRect().right > %[1]d + 1);
		return wide + " px" + (guilty ? " by " + guilty.tagName + "." + guilty.className : "");
	})()`, width))
}

// faint lists texts whose contrast with the ground beneath them is below what
// WCAG 2.2 asks for at level AA (success criterion 1.4.3).
const faint = `(() => {
  const channel = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const numbers = (c) => { const n = c.match(/[\d.]+/g).map(Number); return { rgb: n.slice(0, 3), alpha: n.length > 3 ? n[3] : 1 }; };
  const light = (rgb) => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
  const grounds = new Map([[null, [255, 255, 255]]]), seen = new Set();
  const ground = (e) => {
    if (!grounds.has(e)) { const c = numbers(getComputedStyle(e).backgroundColor); grounds.set(e, c.alpha === 1 ? c.rgb : ground(e.parentElement)); }
    return grounds.get(e);
  };
  const bad = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || seen.has(e)) continue;
    seen.add(e);
    if (!e.checkVisibility() || e.closest("svg") || e.matches(":disabled")) continue;
    const a = light(numbers(getComputedStyle(e).color).rgb), b = light(ground(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.add(e.tagName + "." + e.className + " " + ratio.toFixed(2));
  }
  return [...bad].join(", ");
})()`

func TestBrowserShowsEveryPage(t *testing.T) {
	h := newHouse(t, pauseDriver())
	h.furnish()
	used := h.used()
	h.changed(used)
	b := h.newBrowser()
	b.signIn()
	list := append(pageList(h), usePages(h, used)...)
	b.shows(list)
}

// shows fails the test for pages that are wider than the window, hard to read, or
// complained about, in all looks.
func (b *browser) shows(list []string) {
	b.Helper()
	for _, l := range looks {
		b.as(l)
		for _, path := range list {
			b.showsOne(l, path)
		}
	}
}

func (b *browser) showsOne(l look, path string) {
	b.Helper()
	b.open(path)
	where := l.name + " " + path
	for _, scheme := range []string{"light", "dark"} { // which change colours alone
		b.in(scheme)
		if texts := evaluate[string](b, faint); texts != "" {
			b.Errorf("%s: too little contrast when it is %s: %s", where, scheme, texts)
		}
	}
	if wide := b.overflow(l.width); wide != "" {
		b.Errorf("%s: wider than the window: %s", where, wide)
	}
	if n := evaluate[int](b, `document.querySelectorAll("h1").length`); n != 1 {
		b.Errorf("%s: %d headings of the first order", where, n)
	}
	b.calm(where)
}

// What strangers wrote neither runs nor breaks out of the page.
func TestBrowserShowsHostileContent(t *testing.T) {
	h := hostileHouse(t)
	b := h.newBrowser()
	b.signIn()
	one := firstMatch(h, h.page(admin, "/credentials?kind=certificate"), `href="(/credentials/[0-9a-f]{64})"`)
	run := "/runs/" + firstMatch(h, h.page(admin, "/runs"), `href="/runs/(\d+)"`)
	h.hostileUses()
	uses := h.page(admin, "/uses?list=true")
	incident, use := firstMatch(h, uses, `href="(/incidents/\d+)"`), firstMatch(h, uses, `class="stamp"><a href="(/uses/[^"]+)"`)
	for _, l := range looks {
		b.as(l)
		for _, path := range []string{"/", "/credentials", one, "/places", "/findings?list=true", "/credentials?owner=" + url.QueryEscape(attacks[8]), run,
			"/uses?list=true", incident, use, "/books", "/books/map", "/sources"} {
			b.open(path)
			if wide := b.overflow(l.width); wide != "" {
				t.Errorf("%s %s: wider than the window: %s", l.name, path, wide)
			}
			b.calm(l.name + " " + path)
		}
	}
}

func TestBrowserFilters(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	b := h.newBrowser()
	b.signIn()
	b.as(looks[0])
	names := `[...document.querySelectorAll("td.name > a")].map((a) => a.textContent)`

	b.open("/credentials")
	all := len(evaluate[[]string](b, names))
	// As a keyboard does it: one event that may be turned down, text and all.
	b.do("slash", command(input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: "keyDown", Key: "/", Text: "/"}))
	b.do("search", chromedp.KeyEvent("mail"), chromedp.KeyEvent("\r"), chromedp.WaitVisible(".chip"))
	mails := evaluate[[]string](b, names)
	if len(mails) == 0 || len(mails) >= all {
		t.Errorf("%d of %d match the search", len(mails), all)
	}
	if query := evaluate[string](b, `location.search`); query != "?q=mail" {
		t.Errorf("the address has %q, not the search", query)
	}

	b.do("filter", chromedp.Click(".filter summary"), chromedp.SetValue(`select[name="kind"]`, "certificate"), chromedp.Click(".filter button"),
		chromedp.WaitVisible(`.chips li:nth-child(2)`))
	b.do("take the search away", chromedp.Click(`.chips li:first-child a`), chromedp.WaitNotPresent(`.chips li:nth-child(2)`))
	if query := evaluate[string](b, `location.search`); !strings.Contains(query, "kind=certificate") || strings.Contains(query, "mail") {
		t.Errorf("after taking a chip away the address has %q", query)
	}
	b.do("sort", chromedp.Click(`//th/a[starts-with(., "Name")]`), chromedp.WaitVisible(`th[aria-sort="ascending"]`))
	sorted := evaluate[[]string](b, names)
	if len(sorted) < 3 {
		t.Errorf("a sorted list of %d", len(sorted))
	}
	b.calm("filters")
}

func TestBrowserByKeyboard(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	b := h.newBrowser()
	b.signIn()
	b.as(looks[0])
	b.open("/credentials")
	b.do("the first stop skips to the content", chromedp.KeyEvent("\t"))
	if text := evaluate[string](b, `document.activeElement.textContent`); text != "Skip to the content" {
		t.Errorf("the first stop is %q", text)
	}
	b.do("skip", chromedp.KeyEvent("\r"))
	if id := evaluate[string](b, `document.activeElement.id`); id != "main" {
		t.Errorf("skipping leads to %q", id)
	}
	b.do("go to the second row", chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("k"))
	name := evaluate[string](b, `document.querySelectorAll("td.name a")[1].textContent`)
	b.do("open it", chromedp.KeyEvent("\r"), chromedp.WaitVisible(".tally"))
	if title := evaluate[string](b, `document.querySelector("h1").textContent`); title != name {
		t.Errorf("Enter on %q opened %q", name, title)
	}
	b.calm("keyboard")
}

func TestBrowserChangesThings(t *testing.T) {
	h := newHouse(t)
	h.furnish()
	b := h.newBrowser()
	b.signIn()
	b.as(looks[0])
	b.open("/credentials?q=mail")
	b.do("choose all", chromedp.Click("[data-all]"))
	if n := evaluate[string](b, `document.querySelector("[data-chosen]").textContent`); n == "" || n == "0" {
		t.Errorf("%q are chosen", n)
	}
	b.do("give them an owner", chromedp.SetValue(`input[name="set_owner"]`, "mail team"), chromedp.Click(".bulk button"), chromedp.WaitVisible(".notice"))
	if owners := evaluate[[]string](b, `[...document.querySelectorAll('td[data-label="Owner"]')].map((e) => e.textContent)`); len(owners) == 0 || owners[0] != "mail team" {
		t.Errorf("the owners are %q", owners)
	}
	b.open("/findings?rule=no-owner")
	const total = `parseInt(document.querySelector(".headline .muted").textContent)`
	before := evaluate[int](b, total)
	b.do("accept", chromedp.Click(".finding .actions summary"), chromedp.SetValue(`.finding textarea[name="reason"]`, "a test"), chromedp.Click(".actions details[open] button"),
		chromedp.WaitVisible(".notice"))
	if after := evaluate[int](b, total); after != before-1 {
		t.Errorf("%d findings after one of %d was accepted", after, before)
	}
	if folder := evaluate[string](b, `document.querySelector(".folders a").getAttribute("href")`); !strings.Contains(folder, "place=") {
		t.Errorf("the first folder leads to %s", folder)
	}
	b.open("/findings?rule=no-owner") // without the notice of what was done before
	b.do("accept all", chromedp.Click(".all summary"), chromedp.SetValue(`.all textarea[name="reason"]`, "a test"),
		chromedp.Click(".all details[open] button"), chromedp.WaitVisible(".notice"))
	b.open("/findings?rule=no-owner&state=accepted")
	if accepted := evaluate[int](b, total); accepted != before {
		t.Errorf("%d of %d findings are accepted", accepted, before)
	}
	b.do("copy", chromedp.Navigate(b.server.URL+pageList(h)[3]), chromedp.Click(".copy"), chromedp.WaitVisible(`//button[.="Copied"]`))
	b.do("sign out", chromedp.Click(".who button"), chromedp.WaitVisible(".letter"))
	b.open("/")
	if title := evaluate[string](b, `location.pathname`); title != "/sign-in" {
		t.Errorf("after signing out the first page is %q", title)
	}
	b.calm("changes")
}

// Drawing over the axis zooms in, and a bar can be opened by keyboard.
func TestBrowserZooms(t *testing.T) {
	h := newHouse(t)
	h.used()
	b := h.newBrowser()
	b.signIn()
	b.as(looks[0])
	b.open("/uses")
	box := evaluate[[]float64](b, `(() => { const box = document.querySelector(".mirror").getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; })()`)
	y := box[1] + box[3]/2
	mouse := func(kind input.DispatchMouseEventType, share float64) chromedp.Action[chromedp.Void] {
		return command(input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: box[0] + share*box[2], Y: y, Button: input.MouseButtonLeft, Buttons: 1, ClickCount: 1})
	}
	b.do("draw", mouse(input.DispatchMouseEventTypeMousePressed, 0.25), mouse(input.DispatchMouseEventTypeMouseMoved, 0.4), mouse(input.DispatchMouseEventTypeMouseMoved, 0.5))
	if drawn := evaluate[string](b, `document.querySelector(".mirror .chosen").getAttribute("width")`); !strings.HasPrefix(drawn, "2") {
		t.Errorf("a quarter is drawn as %s", drawn)
	}
	b.do("let go", mouse(input.DispatchMouseEventTypeMouseReleased, 0.5))
	b.until(`location.search.includes("from=2026-11-17T")`)
	if to := evaluate[string](b, `new URLSearchParams(location.search).get("to")`); !strings.HasPrefix(to, "2026-11-19T0") {
		t.Errorf("the middle of the week is %s", to)
	}
	b.open("/uses")
	b.do("go to the first loud bar", chromedp.Focus(`.mirror a:not([tabindex])`), chromedp.KeyEvent("\r"))
	b.until(`location.search.includes("from=2026-11-21T06%3A00%3A00Z")`)
	b.do("a click on a bar opens it", chromedp.Navigate(b.server.URL+"/uses"), chromedp.Click(".mirror a:nth-of-type(9)"))
	b.until(`location.search.startsWith("?from=2026-11-15T20")`)
	b.calm("zoom")
}

// What goes on is shown while it goes on.
func TestBrowserFollowsARun(t *testing.T) {
	h := newHouse(t, pauseDriver())
	b := h.newBrowser()
	b.signIn()
	b.as(looks[0])
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.look.Run(ctx, func(err error) { t.Error(err) })
	}()
	defer func() { stop(); <-ended }()
	for h.ask(admin, "/runs/1", nil).Code == http.StatusNotFound {
		time.Sleep(10 * time.Millisecond) // until the schedule has queued it
	}
	b.open("/runs")
	b.do("open the run", chromedp.WaitVisible(".jobs a"), chromedp.Click(".jobs a"), chromedp.WaitVisible("#run"))
	b.until(`document.querySelector("#run").textContent.includes("30 of 120 looked at")`)
	b.do("cancel it", chromedp.Click(`form[action$="/cancel"] button`), chromedp.WaitVisible(".notice"))
	b.until(`document.querySelector(".state").textContent === "cancelled"`)
	b.calm("run")
}
