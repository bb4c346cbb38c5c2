// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// The statuses of an OCSPResponse without an answer (RFC 6960 section 4.2.1).
const (
	ocspMalformed    = 1
	ocspTryLater     = 3
	ocspUnauthorized = 6 // it is not for us to answer (RFC 5019 section 2.2.3)
)

// AnswerLifetime is how long an answer of OCSP may be used. Servers that staple ask
// once an hour or so.
const AnswerLifetime = 4 * time.Hour

// An answer is one that is signed.
type answer struct {
	der       []byte
	this      time.Time
	next      time.Time
	temporary bool // it should not be kept: it has a nonce, or says "unknown"
}

// serveOCSP answers POST and GET (RFC 6960 appendix A.1); request is what follows the URL of a GET,
// as it was written.
func (p *Publisher) serveOCSP(w http.ResponseWriter, r *http.Request, one *shown, request string) {
	var der []byte
	var err error
	switch {
	case r.Method == http.MethodPost && request == "":
		der, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuery))
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && request != "":
		der, err = decodeGET(request)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "send an OCSP request by POST, or by GET behind a slash", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/ocsp-response")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		writeStatus(w, ocspMalformed)
		return
	}
	a, status := p.answer(r.Context(), one.Authority, der)
	switch {
	case status != 0:
		writeStatus(w, status)
	case r.Method == http.MethodPost || a.temporary:
		_, _ = w.Write(a.der) // nobody is there any more to hear of an error
	default:
		p.serveAnswer(w, r, a)
	}
}

// serveAnswer serves what caches may keep (RFC 5019 section 6.2).
func (p *Publisher) serveAnswer(w http.ResponseWriter, r *http.Request, a *answer) {
	age := int(a.next.Sub(p.c.Now()).Seconds())
	w.Header().Set("Cache-Control", fmt.Sprintf("max-age=%d, public, no-transform, must-revalidate", max(age, 0)))
	w.Header().Set("Expires", a.next.UTC().Format(http.TimeFormat))
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, digest(crypto.SHA256, a.der)))
	http.ServeContent(w, r, "", a.this, bytes.NewReader(a.der))
}

// decodeGET undoes the two encodings of a request by GET. Some clients leave out the padding.
func decodeGET(text string) ([]byte, error) {
	if len(text) > 3*maxQuery {
		return nil, errMalformed
	}
	plain, err := url.PathUnescape(text)
	if err != nil {
		return nil, err
	}
	der, err := base64.StdEncoding.DecodeString(plain)
	if err != nil {
		der, err = base64.RawStdEncoding.DecodeString(plain)
	}
	return der, err
}

// writeStatus writes an OCSPResponse that is only a status.
func writeStatus(w http.ResponseWriter, status byte) {
	_, _ = w.Write([]byte{0x30, 0x03, 0x0a, 0x01, status})
}

// answer returns a signed answer, or else a status.
func (p *Publisher) answer(ctx context.Context, a Authority, der []byte) (*answer, byte) {
	q, err := readQuery(der)
	if err != nil {
		return nil, ocspMalformed
	}
	for _, id := range q.certs {
		if !id.of(a) {
			return nil, ocspUnauthorized
		}
	}
	now := p.c.Now()
	plain := len(q.certs) == 1 && q.nonce == nil
	generation := p.ocsp.generation(a.ID)
	if plain {
		if kept := p.ocsp.get(a.ID, q.certs[0].raw, now); kept != nil {
			return kept, 0
		}
	}
	signs, err := p.signs(ctx, a, now)
	if err != nil {
		return nil, ocspTryLater
	}
	made := &answer{this: now.Add(-Backdate).UTC().Truncate(time.Second), temporary: !plain}
	made.next = earlier(now.Add(AnswerLifetime), signs.until).UTC().Truncate(time.Second)
	var standings []standing
	for _, id := range q.certs {
		s, err := p.standingOf(ctx, a.ID, id)
		if err != nil {
			return nil, ocspTryLater
		}
		standings = append(standings, s)
		made.temporary = made.temporary || s.state == stateUnknown
	}
	if made.der, err = signs.sign(q, standings, now, made); err != nil {
		return nil, ocspTryLater
	}
	if !made.temporary {
		p.ocsp.put(a.ID, generation, q.certs[0].raw, made)
	}
	return made, 0
}

// The states of a certificate, by their tag in CertStatus.
const (
	stateGood    = 0
	stateRevoked = 1
	stateUnknown = 2
)

// A standing is what is said of a certificate.
type standing struct {
	certID
	state   uint8
	revoked store.Revocation
}

// standingOf looks up a certificate. A serial number that the authority has not given is unknown:
// "good" would vouch for what somebody else has signed with the authority's key.
func (p *Publisher) standingOf(ctx context.Context, authority int64, id certID) (standing, error) {
	s := standing{certID: id, state: stateUnknown}
	serial, ok := serialOctets(id.serial)
	if !ok {
		return s, nil
	}
	r, err := p.c.DB.RevocationOf(ctx, serial)
	if err == nil && r.Authority == authority {
		s.state, s.revoked = stateRevoked, r
		return s, nil
	}
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return s, err
	}
	issued, err := p.c.Issued(ctx, authority, serial)
	if issued {
		s.state = stateGood
	}
	return s, err
}

// SerialSize is how many octets a serial number of ours has.
const SerialSize = 16

// serialOctets returns the octets under which a serial number is kept.
func serialOctets(contents []byte) ([]byte, bool) {
	if contents[0] >= 0x80 || len(contents) > 1 && contents[0] == 0 && contents[1] < 0x80 {
		return nil, false // negative, or longer than it needs to be
	}
	contents = bytes.TrimLeft(contents, "\x00")
	if len(contents) > SerialSize {
		return contents, len(contents) <= 20
	}
	return append(make([]byte, SerialSize-len(contents), SerialSize), contents...), true
}
