// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
)

// parseCertID reads the name of a certificate in renewal information: its issuer's key
// identifier and its serial number as DER has it (RFC 9773 section 4.1).
func parseCertID(id string) (keyID []byte, serial ca.Serial, err error) {
	first, second, ok := strings.Cut(id, ".")
	if !ok || len(id) > 200 {
		return nil, "", malformed("a certificate is named by two parts with a dot between them")
	}
	keyID, err = base64.RawURLEncoding.Strict().DecodeString(first)
	number, numberErr := base64.RawURLEncoding.Strict().DecodeString(second)
	if err != nil || numberErr != nil || len(keyID) == 0 || len(number) == 0 {
		return nil, "", malformed("the parts of a certificate's name are base64url without padding")
	}
	// DER: positive, and no more octets than it takes (X.690 section 8.3.2).
	if number[0]&0x80 != 0 || len(number) > 1 && number[0] == 0 && number[1]&0x80 == 0 {
		return nil, "", malformed("the serial number is not one in DER")
	}
	return keyID, ca.SerialOf(new(big.Int).SetBytes(number)), nil
}

// serialOf returns the serial that a certID names, if a CA of ours has the key
// identifier in it; ErrNotFound otherwise.
func (s *Server) serialOf(ctx context.Context, id string) (ca.Serial, error) {
	keyID, serial, err := parseCertID(id)
	if err != nil {
		return "", errors.Join(tallystick.ErrInvalid, err)
	}
	list, err := s.CA.Authorities(ctx)
	if err != nil {
		return "", err
	}
	for _, a := range list {
		if c := a.X509(); c != nil && bytes.Equal(c.SubjectKeyId, keyID) && serial != "" {
			return serial, nil
		}
	}
	return "", tallystick.ErrNotFound
}

// renewalInfo says when a certificate should be renewed, to anybody (RFC 9773
// section 4). The window of one that is in a recall lies in the past.
func (x *exchange) renewalInfo() error {
	if len(x.rest) != 1 {
		return notFound("certificate")
	}
	serial, err := x.serialOf(x.ctx, x.rest[0])
	if err != nil {
		return certificateNotKnown(err)
	}
	window, err := x.CA.Window(x.ctx, serial)
	if err != nil {
		return certificateNotKnown(err)
	}
	text, err := windowText(window)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	h := x.w.Header()
	h.Set("Retry-After", seconds(x.Poll))
	h.Set("ETag", tag)
	h.Set("Cache-Control", "no-cache") // or a recall would be noticed late
	if x.r.Header.Get("If-None-Match") == tag {
		x.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return x.send(http.StatusOK, "application/json", text)
}

func certificateNotKnown(err error) error {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if errors.Is(err, tallystick.ErrNotFound) || errors.Is(err, tallystick.ErrInvalid) {
		return notFound("certificate")
	}
	return err
}

// windowText writes a window as JSON.
func windowText(w ca.Window) ([]byte, error) {
	var body struct {
		Window struct {
			Start time.Time `json:"start"`
			End   time.Time `json:"end"`
		} `json:"suggestedWindow"`
		Explanation string `json:"explanationURL,omitempty"`
	}
	body.Window.Start, body.Window.End = w.Start.UTC().Truncate(time.Second), w.End.UTC().Truncate(time.Second)
	body.Explanation = w.Explanation
	return json.Marshal(body)
}
