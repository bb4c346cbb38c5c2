// SPDX-License-Identifier: Apache-2.0

package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/query"
)

// certificatePage answers: what is this certificate, is it trusted, and what took its
// place?
type certificatePage struct {
	frame
	Offers    []offer
	Row       issuedRow
	Names     []string
	MoreNames int64
	Window    ca.Window
	Open      bool // whether the window has begun
	Before    *issuedRow
	After     []issuedRow
	Same      []issuedRow
	Reasons   []string
	PEM       string
	Today     string
}

// most certificates that are listed beside one.
const besides = 10

// Certificate is one that was signed here.
func (s *Site) Certificate(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	p, err := s.certificate(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "certificate", p)
}

func (s *Site) certificate(r *http.Request) (*certificatePage, error) {
	ctx, actor := r.Context(), actorOf(r)
	c, err := s.Issuing.CA.Look(ctx, actor, ca.Serial(r.PathValue("serial")))
	if err != nil {
		return nil, err
	}
	now := s.Now()
	p := &certificatePage{
		Offers: issuerOffers(""), Row: issuedRowOf(c, now), Names: head(detailNames, c.Names.All()), MoreNames: int64(max(0, len(c.Names.All())-detailNames)),
		Window: c.Window(), Reasons: ca.ReasonWords(), Today: now.UTC().Format(time.DateOnly),
	}
	p.Open = !now.Before(p.Window.Start)
	p.frame = frame{Title: p.Row.Name, Section: "issuers"}
	if len(c.Serial) == 32 { // those of SSH are no DER
		p.PEM = chainPEM([][]byte{c.DER})
	}
	if c.Replaces != "" {
		before, err := s.Issuing.CA.Look(ctx, actor, c.Replaces)
		if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			row := issuedRowOf(before, now)
			p.Before = &row
		}
	}
	after, err := s.Issuing.CA.List(ctx, actor, ca.Filter{Replaces: c.Serial}, "", besides)
	if err != nil {
		return nil, err
	}
	p.After = issuedRows(after, now)
	same, err := s.Issuing.CA.List(ctx, actor, ca.Filter{Key: c.Key}, "", besides+1)
	for _, one := range same {
		if one.Serial != c.Serial {
			p.Same = append(p.Same, issuedRowOf(one, now))
		}
	}
	return p, err
}

// KeyURL is the list of all certificates of the key.
func (p *certificatePage) KeyURL() string { return issuedURL("key", string(p.Row.Key)) }

// AuthorityURL is the page of the CA.
func (p *certificatePage) AuthorityURL() string { return issuerURL(p.Row.Authority) }

// CertificateFile is the certificate with its chain.
func (s *Site) CertificateFile(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	c, err := s.Issuing.CA.Look(r.Context(), actorOf(r), ca.Serial(r.PathValue("serial")))
	if err == nil && len(c.Serial) != 32 {
		err = errNoPage
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	sendText(w, string(c.Serial)+".pem", chainPEM(append([][]byte{c.DER}, c.Chain...)))
}

// RevokeCertificate takes trust away, and comes back when what is published says so.
func (s *Site) RevokeCertificate(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	serial := ca.Serial(r.PathValue("serial"))
	reason, err := ca.ParseReason(r.PostFormValue("reason"))
	var since time.Time
	if err == nil {
		since, err = query.ParseTime(strings.TrimSpace(r.PostFormValue("since")))
	}
	if err == nil {
		_, err = s.Issuing.Revoke(r.Context(), actorOf(r), ca.RevokeRequest{
			Serials: []ca.Serial{serial}, Reason: reason, InvalidSince: since, Note: clip(500, strings.TrimSpace(r.PostFormValue("note"))),
			Block: r.PostFormValue("block") == "true", Descendants: r.PostFormValue("descendants") == "true",
		}, true)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, "/issued/"+string(serial), "cert-revoked")
}

// RecallCertificate tells the client of a certificate to renew now.
func (s *Site) RecallCertificate(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	serial := ca.Serial(r.PathValue("serial"))
	n, err := s.Issuing.CA.Recall(r.Context(), actorOf(r), []ca.Serial{serial}, strings.TrimSpace(r.PostFormValue("url")))
	if err == nil && n == 0 {
		err = fmt.Errorf("certificate %.40s was recalled already, or is not there: %w", serial, tallystick.ErrConflict)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, "/issued/"+string(serial), "cert-recalled")
}
