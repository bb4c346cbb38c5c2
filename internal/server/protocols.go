// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"strings"
)

// A Protocol is what machines speak with a feature of its own under a path, such as
// ACME. It is no part of the API or the pages: it knows its clients by itself, has
// bounds of its own, and is never asked by a page in a browser.
type Protocol struct {
	Prefix  string // "/acme/": everything below it
	Handler http.Handler
}

// protocols takes what belongs to a protocol, and leaves others to next. Paths are
// given on as they were sent: http.ServeMux would clean them, and a request of OCSP
// by GET may hold two slashes in a row (RFC 6960 appendix A.1).
func (s *Server) protocols(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, p := range s.Protocols {
			if strings.HasPrefix(r.URL.Path, p.Prefix) {
				v, _ := r.Context().Value(visitKey{}).(*visit)
				v.route, v.actor.Via = p.Prefix, "protocol"
				p.Handler.ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
