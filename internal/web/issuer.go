// SPDX-License-Identifier: Apache-2.0

package web

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/query"
)

// issuerPage answers: what is this CA, what did it sign, and what is next?
type issuerPage struct {
	frame
	Offers      []offer
	Row         authorityRow
	Chain       []chainLink
	Constraints []string
	PathLength  string
	Fingerprint string
	Serial      string
	PEM         string
	Profiles    []bar
	Ways        []bar
	Sample      int // how many certificates the bars count
	Children    []string
	FollowedBy  string
	Recent      []issuedRow
	Today       string
}

// A chainLink is a certificate above a CA.
type chainLink struct{ Name, URL string }

// sampled is how many of the newest certificates of a CA are counted by what they are for.
const sampled = 1000

// Issuer is one CA.
func (s *Site) Issuer(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	p, err := s.issuer(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "issuer", p)
}

func (s *Site) issuer(r *http.Request) (*issuerPage, error) {
	name := r.PathValue("name")
	all, lists, err := s.authorities(r)
	if err != nil {
		return nil, err
	}
	p := &issuerPage{frame: frame{Title: clip(maxName, name), Section: "issuers"}, Offers: issuerOffers(""), Today: s.Now().UTC().Format(time.DateOnly)}
	for _, row := range tree(all, lists, s.Now()) {
		switch {
		case row.Name == name:
			p.Row = row
		case row.Parent == name:
			p.Children = append(p.Children, row.Name)
		case row.Follows == name:
			p.FollowedBy = row.Name
		}
	}
	if p.Row.Name == "" {
		_, err := s.Issuing.CA.Authority(r.Context(), name) // which says what there is
		return nil, err
	}
	p.describe(p.Row.Authority)
	newest, err := s.Issuing.CA.List(r.Context(), actorOf(r), ca.Filter{Authority: name}, "", sampled)
	if err != nil {
		return nil, err
	}
	p.Sample = len(newest)
	p.Profiles = countBars(newest, name, "profile", func(c ca.Certificate) string { return c.Profile })
	p.Ways = countBars(newest, name, "via", func(c ca.Certificate) string { return c.Via })
	p.Recent = issuedRows(head(10, newest), s.Now())
	return p, nil
}

// describe says what stands in the certificate of a CA.
func (p *issuerPage) describe(a ca.Authority) {
	p.PEM = a.PEM()
	if a.Parent != "" {
		p.Chain = append(p.Chain, chainLink{a.Parent, issuerURL(a.Parent)})
	} else if len(a.Chain) > 0 {
		p.Chain = append(p.Chain, chainLink{"somebody else's CA", ""})
	}
	c := a.X509()
	if c == nil {
		return
	}
	sum := sha256.Sum256(c.Raw)
	p.Fingerprint, p.Serial = hex.EncodeToString(sum[:]), c.SerialNumber.Text(16)
	p.PathLength = "any number of CAs below it"
	switch {
	case c.MaxPathLenZero:
		p.PathLength = "no CA below it"
	case c.MaxPathLen > 0:
		p.PathLength = plural(int64(c.MaxPathLen), "CA", "CAs") + " below it at most"
	}
	for _, of := range []struct {
		word string
		list []string
	}{
		{"only names under", c.PermittedDNSDomains}, {"no names under", c.ExcludedDNSDomains},
		{"only addresses in", networkWords(c.PermittedIPRanges)}, {"no addresses in", networkWords(c.ExcludedIPRanges)},
		{"only mail under", c.PermittedEmailAddresses}, {"no mail under", c.ExcludedEmailAddresses},
		{"only URIs at", c.PermittedURIDomains}, {"no URIs at", c.ExcludedURIDomains},
	} {
		if len(of.list) > 0 {
			p.Constraints = append(p.Constraints, clip(300, of.word+" "+list(of.list)))
		}
	}
}

func networkWords(ranges []*net.IPNet) []string {
	var words []string
	for _, n := range ranges {
		words = append(words, n.String())
	}
	return words
}

// IssuerFile is the certificate of a CA and those above it, or the public key of one
// of kind ssh.
func (s *Site) IssuerFile(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	list, err := s.Issuing.CA.Overview(r.Context(), actorOf(r))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	for _, a := range list {
		if a.Name == r.PathValue("name") {
			sendText(w, a.Name+".pem", a.PEM()+chainPEM(a.Chain))
			return
		}
	}
	_, err = s.Issuing.CA.Authority(r.Context(), r.PathValue("name"))
	s.Error(w, r, err)
}

// sendText sends a file whose name is safe.
func sendText(w http.ResponseWriter, name, text string) {
	setHeaders(w.Header())
	w.Header().Set("Content-Type", "application/x-pem-file")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, _ = w.Write([]byte(text))
}

func chainPEM(chain [][]byte) string {
	var text strings.Builder
	for _, der := range chain {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return text.String()
}

// TurnIssuer does the step of a rollover that the address names.
func (s *Site) TurnIssuer(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	name, verb := r.PathValue("name"), r.PathValue("verb")
	word, err := s.turnIssuer(r, actorOf(r), name, verb)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, issuerURL(name), word)
}

// turnIssuer returns the word of the notice that it is done.
func (s *Site) turnIssuer(r *http.Request, actor gate.Actor, name, verb string) (string, error) {
	ctx := r.Context()
	if verb != "compromise" && r.PostFormValue("sure") != "true" {
		return "", problem.With(fmt.Errorf("%w: this is not confirmed", tallystick.ErrInvalid), "Go back, tick the box that says that you mean it, and press the button again.")
	}
	switch verb {
	case "prepare":
		_, err := s.Issuing.CA.Prepare(ctx, actor, name, "")
		return "ca-prepared", err
	case "activate":
		_, err := s.Issuing.CA.Activate(ctx, actor, name)
		return "ca-activated", err
	case "distrust":
		_, err := s.Issuing.CA.Distrust(ctx, actor, name, r.PostFormValue("force") == "true")
		return "ca-distrusted", err
	case "compromise":
		if r.PostFormValue("confirm") != name {
			return "", problem.With(fmt.Errorf("%w: the name does not match", tallystick.ErrInvalid), "Go back and write the name of the CA as it stands there, to confirm.")
		}
		since, err := query.ParseTime(strings.TrimSpace(r.PostFormValue("since")))
		if err != nil {
			return "", err
		}
		_, err = s.Issuing.CA.Compromise(ctx, actor, name, strings.TrimSpace(r.PostFormValue("url")), since)
		return "ca-compromised", err
	}
	return "", errNoPage
}
