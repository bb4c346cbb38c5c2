// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"strings"

	"github.com/tallystick/tallystick/internal/gate"
)

//go:embed *.html
var templateFiles embed.FS

// A frame is what the layout shows around every page; each page's struct
// embeds one.
type frame struct {
	Title   string
	Section string // which entry of the navigation is the page's own
	Search  string // what is in the search box
	Actor   gate.Actor
	Notice  string // what an action that led here has done
	Mistake *mistake
}

func (f *frame) around() *frame { return f }

// SignedIn says whether to show navigation.
func (f *frame) SignedIn() bool { return f.Actor.Role > gate.Nobody }

// MayChange says whether to show forms that operators use.
func (f *frame) MayChange() bool { return f.Actor.Role >= gate.Operator }

// MayAdminister says whether to show what is for administrators.
func (f *frame) MayAdminister() bool { return f.Actor.Role >= gate.Admin }

// A page is a pointer to a struct that embeds a frame and that the template of
// a stem is checked against.
type page interface{ around() *frame }

// parseTemplates returns a template for each stem: the layout with the blocks
// of that one page.
func parseTemplates(functions template.FuncMap) (map[string]*template.Template, error) {
	shared, err := template.New("layout.html").Funcs(functions).ParseFS(templateFiles, "layout.html", "parts.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(templateFiles, "*.html")
	if err != nil {
		return nil, err
	}
	templates := map[string]*template.Template{}
	for _, name := range names {
		if name == "layout.html" || name == "parts.html" {
			continue
		}
		one, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		if one, err = one.ParseFS(templateFiles, name); err != nil {
			return nil, err
		}
		templates[strings.TrimSuffix(name, ".html")] = one
	}
	return templates, nil
}

// render sends a page. The title and the section come from the caller, the rest
// of the frame from the request.
func (s *Site) render(w http.ResponseWriter, r *http.Request, status int, stem string, p page) {
	f := p.around()
	f.Actor = actorOf(r)
	f.Notice = notices[r.URL.Query().Get("done")]
	var out bytes.Buffer
	if err := s.templates[stem].Execute(&out, p); err != nil {
		s.Failed(r, err)
		setHeaders(w.Header())
		http.Error(w, "This page could not be made. The log of Tallystick says why.", http.StatusInternalServerError)
		return
	}
	setHeaders(w.Header())
	w.WriteHeader(status)
	_, _ = w.Write(visible(out.Bytes()))
}

// setHeaders sets what keeps a page from being misused. Pages are not kept:
// who uses the browser next must not find them.
func setHeaders(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", ContentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// notices are what a page says after an action, by the word that is added to
// its address. The words of an address are never shown themselves.
var notices = map[string]string{
	"annotated":        "Saved.",
	"amended":          "Saved for the credentials that you chose.",
	"accepted":         "The finding is accepted until the day that you gave; then it opens again by itself.",
	"reopened":         "The finding is open again.",
	"all-accepted":     "The findings are accepted until the day that you gave; then they open again by themselves.",
	"all-reopened":     "The findings are open again.",
	"all-assigned":     "The findings are assigned.",
	"assigned":         "The finding is assigned.",
	"started":          "The look is queued; what it finds shows up here as it goes on.",
	"cancelled":        "The look stops. What it has seen so far is kept.",
	"paused":           "The look stops until it is resumed. What it has seen so far is kept.",
	"resumed":          "The look goes on where it stood.",
	"disabled":         "They can no longer sign in, and their sessions have ended.",
	"expected":         "It is expected: until then such changes alarm nobody.",
	"taken-back":       "The change is taken back. It stays on this list with its findings: who made it is still to be asked.",
	"to-replace":       "It is on the list of what is to be replaced, until its new value is entrusted.",
	"source-added":     "The source is added. It is read within 2 seconds.",
	"source-paused":    "The source is paused: its files wait, and its senders are told to come again.",
	"source-resumed":   "The source goes on where it stood.",
	"source-removed":   "The source is read no more. What it gave stays.",
	"ca-prepared":      "The next generation is made and signs nothing yet. Trust it everywhere, then let it sign.",
	"ca-activated":     "It signs from now on. Have what the one before it signed renewed, then distrust that one.",
	"ca-distrusted":    "It is distrusted here. Take it out of every trust store.",
	"ca-compromised":   "Its key is refused for ever, it signs nothing more, and clients of what it signed are told to renew now.",
	"cert-revoked":     "It is revoked, and what is published says so.",
	"cert-recalled":    "Its client is told to renew when it asks next; those that ask do so every few minutes to hours.",
	"request-approved": "The certificate is made. Whoever asked gets it by asking for the same again.",
	"request-refused":  "The request is refused.",
	"renewal-asked":    "It is renewed now.",
	"renewal-paused":   "The renewal is paused: nothing is renewed until it is resumed.",
	"renewal-resumed":  "The renewal goes on.",
	"recall-opened":    "The recall is open. Somebody else has to approve it.",
	"recall-approved":  "Your approval is on record.",
	"recall-started":   "It has begun, with its first wave.",
	"recall-paused":    "It is paused: what is under way comes to its end, and nothing more begins. The deadline comes all the same.",
	"recall-resumed":   "It goes on.",
	"recall-extended":  "The new deadline waits for the approval of somebody else.",
	"recall-cancelled": "The recall is cancelled. What was done stays as it is.",
	"target-retried":   "It is tried again now.",
	"target-skipped":   "It is skipped, and the evidence says so.",
	"target-undone":    "It is rolled back.",
	"target-done":      "It is on record that this is done.",
	"revoked":          "The token no longer works.",
	"out":              "You are signed out.",
}

// done sends the browser from an action to a page that says that it is done.
func done(w http.ResponseWriter, r *http.Request, path, word string) {
	http.Redirect(w, r, withParameter(path, "done", word), http.StatusSeeOther)
}
