// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/internal/store"
)

// A shown is what is served of an authority. It never changes.
type shown struct {
	Authority
	lists map[int64]*list
	err   error
	since time.Time // of the first of the errors in a row
}

// show has the handler serve what there is now. p.mu is held.
func (p *Publisher) show() {
	all := make(map[string]*shown, len(p.authorities))
	for _, s := range p.authorities {
		all[s.Name] = &shown{Authority: s.Authority, lists: maps.Clone(s.lists), err: s.err, since: s.since}
	}
	p.shown.Store(&all)
}

// Handler serves everything under /pki/. It needs no TLS: what it serves is signed. Mount it where no
// http.ServeMux is before it: that redirects paths with two slashes in a row, which a request
// of OCSP by GET may well have.
func (p *Publisher) Handler() http.Handler { return http.HandlerFunc(p.serve) }

func (p *Publisher) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), prefix)
	first, sub, nested := strings.Cut(rest, "/")
	file, err := url.PathUnescape(first)
	if !ok || err != nil {
		http.NotFound(w, r)
		return
	}
	all := *p.shown.Load()
	if nested {
		if one := all[file]; one != nil {
			p.serveBelow(w, r, one, sub)
			return
		}
		http.NotFound(w, r)
		return
	}
	dot := max(strings.LastIndexByte(file, '.'), 0)
	one := all[file[:dot]]
	switch kind := file[dot:]; {
	case one != nil && kind == ".crl":
		p.serveList(w, r, one.lists[store.CompleteList])
	case one != nil && kind == ".crt":
		serveBytes(w, r, "application/pkix-cert", time.Time{}, one.Certificate.Raw)
	case one != nil && kind == ".pem":
		serveBytes(w, r, "application/x-pem-file", time.Time{}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one.Certificate.Raw}))
	default:
		http.NotFound(w, r)
	}
}

// serveBelow serves what is below the name of an authority.
func (p *Publisher) serveBelow(w http.ResponseWriter, r *http.Request, one *shown, path string) {
	if path == "ocsp" && p.c.OCSP {
		p.serveOCSP(w, r, one, "")
		return
	}
	if request, ok := strings.CutPrefix(path, "ocsp/"); ok && p.c.OCSP {
		p.serveOCSP(w, r, one, request)
		return
	}
	number, ok := strings.CutSuffix(path, ".crl")
	shard, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || shard < 0 || strconv.FormatInt(shard, 10) != number || one.lists[shard] == nil {
		http.NotFound(w, r)
		return
	}
	p.serveList(w, r, one.lists[shard])
}

// cacheFor bounds how long a cache may keep a list: one that kept it until its nextUpdate would hide
// every revocation of a week.
const cacheFor = 10 * time.Minute

// serveList serves a list. One that has ended is served too: its readers refuse it, and it tells
// them more than an error would.
func (p *Publisher) serveList(w http.ResponseWriter, r *http.Request, l *list) {
	if l == nil || l.List == nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "this list is not signed yet", http.StatusServiceUnavailable)
		return
	}
	age := min(l.NextUpdate.Sub(p.c.Now()), cacheFor)
	w.Header().Set("Cache-Control", "no-cache")
	if seconds := int(age.Seconds()); seconds > 0 {
		w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d, must-revalidate", seconds))
		w.Header().Set("Expires", p.c.Now().Add(age).UTC().Format(http.TimeFormat))
	}
	w.Header().Set("ETag", `"`+l.SHA256+`"`)
	serveBytes(w, r, "application/pkix-crl", l.ThisUpdate, l.List)
}

// serveBytes answers GET and HEAD, whole or in part, and not at all when the asker has it.
func serveBytes(w http.ResponseWriter, r *http.Request, kind string, modified time.Time, body []byte) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "use GET", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", kind)
	http.ServeContent(w, r, "", modified, bytes.NewReader(body))
}
