// SPDX-License-Identifier: Apache-2.0

package blocking

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/driver/network"
)

// Uncovered returns those of the authorities that none of the lists is of.
func (l Lists) Uncovered(authorities []*x509.Certificate) []*x509.Certificate {
	var bare []*x509.Certificate
	for _, ca := range authorities {
		if l.of(ca) == nil {
			bare = append(bare, ca)
		}
	}
	return bare
}

// of returns the list of a CA, or nil.
func (l Lists) of(ca *x509.Certificate) *x509.RevocationList {
	for _, list := range l {
		if bytes.Equal(list.RawIssuer, ca.RawSubject) && list.CheckSignatureFrom(ca) == nil {
			return list
		}
	}
	return nil
}

// Ended returns a sentence for people on each list that has ended.
func (l Lists) Ended(now time.Time) []string {
	var notes []string
	for _, list := range l {
		if !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
			notes = append(notes, fmt.Sprintf("the revocation list of %s ended on %s: bring a new one", network.Quote(list.Issuer.String()), list.NextUpdate.UTC().Format(time.RFC3339)))
		}
	}
	return notes
}
