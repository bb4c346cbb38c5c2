// SPDX-License-Identifier: Apache-2.0

// Package lint looks at what is about to be certified, and at certificates before
// they are signed.
//
//   - Linter.Lints runs those lints of zlint (https://github.com/zmap/zlint) that make
//     sense for a private CA: all that hold a certificate against an RFC, and of those
//     that were made for the public web the ones about encoding and keys. Which ones,
//     and why not the others, is in docs/lints.md.
//   - Check holds a certificate against what it should be: its issuer, its profile.
//   - CheckKey refuses public keys that are weak, malformed, or whose private half can
//     be computed.
//   - Before wraps a signer so that it signs nothing that did not pass.
//
// Everything is pure, bounded and safe to call from several goroutines, and nothing
// here panics, whatever it is given.
package lint

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/zmap/zcrypto/x509"
	zlint "github.com/zmap/zlint/v3/lint"
	"github.com/zmap/zlint/v3/util"

	// The lints register themselves with their registry when they are linked in.
	_ "github.com/zmap/zlint/v3/lints/cabf_br"
	_ "github.com/zmap/zlint/v3/lints/community"
	_ "github.com/zmap/zlint/v3/lints/mozilla"
	_ "github.com/zmap/zlint/v3/lints/rfc"

	"github.com/tallystick/tallystick"
)

// MaxSize is the size of the largest certificate that is looked at, in bytes. One
// with a hundred names of full length has a quarter of that.
const MaxSize = 128 << 10

// ErrRefused is the kind of the error of a certificate that must not be issued.
var ErrRefused = fmt.Errorf("%w: the certificate would be wrong", tallystick.ErrInvalid)

// A Problem is what a lint says.
type Problem struct {
	Lint     string `json:"lint"`
	Error    bool   `json:"error"` // else a warning
	Text     string `json:"text"`
	Citation string `json:"citation"`
}

// String is the problem in one line.
func (p Problem) String() string {
	if p.Citation == "" {
		return p.Lint + ": " + p.Text
	}
	return p.Lint + ": " + p.Text + " (" + p.Citation + ")"
}

// refusal returns ErrRefused with the errors among the problems, nil without one.
func refusal(problems []Problem) error {
	var texts []string
	for _, p := range problems {
		if p.Error {
			texts = append(texts, p.String())
		}
	}
	if texts == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrRefused, strings.Join(texts, "; "))
}

// A Linter has the lints of zlint that are run.
type Linter struct{ lints []chosen }

// chosen is one lint.
type chosen struct {
	*zlint.CertificateLint
	// ready is the lint itself where it has no state, so that one serves all.
	ready zlint.CertificateLintInterface
	// needs is the extension without which it has nothing to say.
	needs extensions
	// web says that it speaks of certificates of TLS servers alone.
	web bool
}

// New chooses the lints. It is done once, because it takes a millisecond. An error
// says that a lint which should be run is not there any more.
func New() (*Linter, error) {
	l := &Linter{}
	missing := taken()
	for _, one := range zlint.GlobalRegistry().CertificateLints().Lints() {
		if !isTaken(&one.LintMetadata) {
			continue
		}
		delete(missing, one.Name)
		c := chosen{CertificateLint: one, needs: needs(one.Name),
			web: one.Source == zlint.CABFBaselineRequirements && !one.OverrideFrameworkFilter}
		instance := one.Lint()
		if _, configured := instance.(zlint.Configurable); configured {
			return nil, fmt.Errorf("lint %s takes a configuration", one.Name)
		}
		if t := reflect.TypeOf(instance); t.Kind() == reflect.Pointer && t.Elem().Size() == 0 {
			c.ready = instance
		}
		l.lints = append(l.lints, c)
	}
	for name := range missing {
		return nil, fmt.Errorf("there is no lint %s", name)
	}
	return l, nil
}

// Lints runs the lints over a certificate, DER. The error is ErrRefused with the text
// of everything that must not be issued; what is returned beside it has all
// problems, also those that are warnings. What cannot be read is refused.
func (l *Linter) Lints(der []byte) (problems []Problem, err error) {
	if len(der) > MaxSize {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrRefused, MaxSize)
	}
	at := "parser"
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %s panicked", ErrRefused, at)
		}
	}()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be read: %w", ErrRefused, err)
	}
	has, web := extensionsOf(c), util.IsServerAuthCert(c)
	for i := range l.lints {
		one := &l.lints[i]
		if one.needs&^has != 0 || one.web && !web {
			continue
		}
		at = one.Name
		if p, found := one.run(c); found {
			problems = append(problems, p)
		}
	}
	return problems, refusal(problems)
}

// run is CertificateLint.Execute without what is the same for all lints.
func (one *chosen) run(c *x509.Certificate) (Problem, bool) {
	instance := one.ready
	if instance == nil {
		instance = one.Lint()
	}
	if !instance.CheckApplies(c) || !one.CheckEffective(c) {
		return Problem{}, false
	}
	result := instance.Execute(c)
	if result.Status < zlint.Warn {
		return Problem{}, false
	}
	text := one.Description
	if result.Details != "" {
		text += ": " + result.Details
	}
	return Problem{Lint: one.Name, Error: result.Status >= zlint.Error, Text: text, Citation: one.Citation}, true
}

// errUnknown is of a certificate whose beginning is not understood.
var errUnknown = errors.New("it is not a certificate")
