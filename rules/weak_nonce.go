// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules/weakkey"
)

func sharedNonce() rule.Rule {
	return rule.Rule{
		Name:  "shared-nonce",
		Title: "An issuer's key that its own signatures give away",
		About: "Two certificates of one issuer carry ECDSA signatures that were made with the same nonce. From these two the issuer's private " +
			"key can be computed by anybody, with school algebra. The signatures are checked where the issuer's certificate is known, " +
			"so that a forged certificate accuses nobody.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "FIPS 186-5 section 6.4 and appendix A.3; Breitner and Heninger: Biased Nonce Sense, FC 2019",
		URL:       "https://doi.org/10.6028/NIST.FIPS.186-5",
		Effective: day(2023, time.February, 3),
		Do:        "Stop trusting the issuer, make it a new key with software that derives nonces as RFC 6979 does, and replace every certificate that it signed.",
		Survey:    surveyNonces,
	}
}

// Bounds on what is looked at closer, so that forged certificates cost little:
// certificates with a reused nonce, and keys that an issuer's name may stand for.
const (
	maxReused  = 1000
	maxIssuers = 16
)

// A digest is enough of a SHA-256 to tell a million things apart.
type digest [16]byte

func digestOf(parts ...[]byte) digest {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return digest(h.Sum(nil))
}

// surveyNonces passes over the certificates once, holding 32 bytes for each of
// one issuer's; only when a nonce comes twice does it look closer.
func surveyNonces(ctx context.Context, estate rule.Estate, hit func(rule.Hit) error) error {
	reused, err := reusedNonces(ctx, estate)
	if err != nil || len(reused) == 0 {
		return err
	}
	signed, err := signedWith(ctx, estate, reused)
	if err != nil {
		return err
	}
	issuers, err := issuersOf(ctx, estate, signed)
	if err != nil {
		return err
	}
	for _, group := range groupSigned(signed, issuers) {
		if err := group.report(issuers, hit); err != nil {
			return err
		}
	}
	return nil
}

// nonceOf names the nonce under which a certificate was signed, as far as its
// issuer's key can be told without knowing it, and the message.
func nonceOf(c *tallystick.Credential) (nonce, message digest, ok bool) {
	r, signed, ok := weakkey.Nonce(c.Raw)
	key := c.AuthorityKeyID
	if key == "" && c.SelfIssued {
		key = string(c.Key.ID)
	}
	return digestOf([]byte(c.Issuer), []byte(key), r), digestOf(signed), ok
}

// reusedNonces returns the nonces under which one issuer signed two different
// messages. The same message twice is the same signature: copies of a
// certificate differ outside of what is signed, and s can be negated.
func reusedNonces(ctx context.Context, estate rule.Estate) (map[digest]bool, error) {
	reused := make(map[digest]bool)
	var seen map[digest]digest
	var issuer string
	err := estate.Certificates(ctx, "ecdsa-", func(c *tallystick.Credential) error {
		if seen == nil || c.Issuer != issuer {
			seen, issuer = make(map[digest]digest), c.Issuer
		}
		nonce, message, ok := nonceOf(c)
		if !ok {
			return nil
		}
		if first, again := seen[nonce]; !again {
			seen[nonce] = message
		} else if first != message {
			reused[nonce] = true
		}
		return nil
	})
	return reused, err
}

// A signedOne is a certificate that was signed under a reused nonce.
type signedOne struct {
	id             tallystick.Fingerprint
	issuer         string
	nonce, message digest
	raw            []byte
}

func signedWith(ctx context.Context, estate rule.Estate, reused map[digest]bool) ([]signedOne, error) {
	var signed []signedOne
	err := estate.Certificates(ctx, "ecdsa-", func(c *tallystick.Credential) error {
		nonce, message, ok := nonceOf(c)
		if ok && reused[nonce] && len(signed) < maxReused {
			signed = append(signed, signedOne{c.ID, c.Issuer, nonce, message, bytes.Clone(c.Raw)})
		}
		return nil
	})
	return signed, err
}

// An issuerKey is a key that goes by an issuer's name.
type issuerKey struct {
	id           tallystick.KeyID
	certificate  *x509.Certificate
	certificates []tallystick.Fingerprint
}

// issuersOf returns the keys that may have signed, by the issuer's name.
func issuersOf(ctx context.Context, estate rule.Estate, signed []signedOne) (map[string][]*issuerKey, error) {
	issuers := make(map[string][]*issuerKey)
	for _, one := range signed {
		issuers[one.issuer] = nil
	}
	err := estate.Certificates(ctx, "", func(c *tallystick.Credential) error {
		known, wanted := issuers[c.Subject]
		if !wanted || !strings.HasPrefix(c.Key.Algorithm, "ecdsa-") {
			return nil
		}
		for _, key := range known {
			if key.id == c.Key.ID {
				key.certificates = append(key.certificates, c.ID)
				return nil
			}
		}
		certificate, err := x509.ParseCertificate(bytes.Clone(c.Raw))
		if err != nil || len(known) == maxIssuers {
			return nil // it proves nothing; what it signed counts as not checked
		}
		issuers[c.Subject] = append(known, &issuerKey{c.Key.ID, certificate, []tallystick.Fingerprint{c.ID}})
		return nil
	})
	return issuers, err
}

// A nonceGroup is the certificates that one key signed under one nonce; the key
// is empty when no known key verifies them.
type nonceGroup struct {
	nonce digest
	key   tallystick.KeyID
	ones  []signedOne
}

// groupSigned sorts the certificates by nonce and verified key, and returns the
// groups with more than one message.
func groupSigned(signed []signedOne, issuers map[string][]*issuerKey) []*nonceGroup {
	var groups []*nonceGroup
	for _, one := range signed {
		key := one.signer(issuers[one.issuer])
		i := slices.IndexFunc(groups, func(g *nonceGroup) bool { return g.nonce == one.nonce && g.key == key })
		if i < 0 {
			i, groups = len(groups), append(groups, &nonceGroup{nonce: one.nonce, key: key})
		}
		groups[i].ones = append(groups[i].ones, one)
	}
	return slices.DeleteFunc(groups, func(g *nonceGroup) bool {
		return !slices.ContainsFunc(g.ones, func(one signedOne) bool { return one.message != g.ones[0].message })
	})
}

// signer returns which of the keys made the signature, and "" for none.
func (one *signedOne) signer(keys []*issuerKey) tallystick.KeyID {
	c, err := x509.ParseCertificate(one.raw)
	if err != nil {
		return ""
	}
	for _, key := range keys {
		if key.certificate.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil {
			return key.id
		}
	}
	return ""
}

// report gives a hit for each certificate of the group, and for each of the
// issuer whose key is lost.
func (g *nonceGroup) report(issuers map[string][]*issuerKey, hit func(rule.Hit) error) error {
	slices.SortFunc(g.ones, func(a, b signedOne) int { return cmp.Compare(a.id, b.id) })
	first := g.ones[0]
	other := g.ones[slices.IndexFunc(g.ones, func(one signedOne) bool { return one.message != first.message })]
	severity, verdict := tallystick.SeverityCritical, "so that the key can be computed"
	if g.key == "" {
		severity, verdict = tallystick.SeverityMedium, "but no known key verifies both signatures"
	}
	// The issuer's name comes last, because it may be too long to be shown.
	evidence := clip(fmt.Sprintf("%s and %s were signed with the same nonce, %s: %s",
		first.id.Short(), other.id.Short(), verdict, first.issuer))
	var about []tallystick.Fingerprint
	for _, key := range issuers[first.issuer] {
		if key.id == g.key {
			about = append(about, key.certificates...)
		}
	}
	for _, one := range g.ones {
		about = append(about, one.id)
	}
	slices.Sort(about)
	for _, id := range slices.Compact(about) {
		if err := hit(rule.Hit{Credential: id, Evidence: evidence, Severity: severity}); err != nil {
			return err
		}
	}
	return nil
}
