// SPDX-License-Identifier: Apache-2.0

// Package est is the driver that has certificates made by a CA that speaks EST
// (RFC 7030, with the clarifications of RFC 8951).
//
// Who asks is shown by the certificate that is replaced, when its key is at hand
// and the names stay the same (simplereenroll); otherwise, or when the CA does not
// take that certificate's word any more, by a password or a certificate of the
// options (simpleenroll). The chain comes from cacerts.
//
// EST knows no orders. A CA that is asked again with the same request may answer
// with the certificate that it made before, or make another; it cannot be told
// which. Nor can it be asked whether a certificate is revoked, or to revoke one.
package est

import (
	"fmt"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// Options are what can be set.
type Options struct {
	URL         string        `option:"url" help:"URL of the CA, such as https://est.example.com, with the path that it serves EST at unless that is /.well-known/est"`
	User        string        `option:"user" help:"name to sign in with (HTTP Basic)"`
	Password    driver.Secret `option:"password" help:"password or token to sign in with"`
	Certificate string        `option:"certificate" help:"PEM file of a certificate to show when one is asked for the first time"`
	Key         string        `option:"key" help:"PEM file of its key"`
	Roots       string        `option:"roots" help:"PEM bundle to verify the CA's server against, in place of what this machine trusts"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("est", "CAs that speak EST: has certificates made, and renewed by the word of those that they replace", open)
}

// Issuer has certificates made by one CA.
type Issuer struct {
	options  Options
	settings issuing.Settings
	base     string // URL that the operations are beneath
}

var _ driver.Issuer = (*Issuer)(nil)

func open(o Options) (*Issuer, error) {
	i := &Issuer{options: o, settings: issuing.Settings{
		URL: o.URL, Roots: o.Roots, Secrets: []driver.Secret{o.Password}, Certificate: o.Certificate, Key: o.Key,
	}}
	base, err := i.settings.Base()
	if err != nil {
		return nil, fmt.Errorf("option url: %w", err)
	}
	if i.base = base.String(); base.Path == "" {
		i.base += "/.well-known/est" // RFC 7030 section 3.2.2
	}
	if (o.Certificate == "") != (o.Key == "") {
		return nil, invalid("options certificate and key go together")
	}
	if (o.User == "") != o.Password.IsZero() || strings.Contains(o.User, ":") {
		return nil, invalid("options user and password go together, and a user has no colon")
	}
	return i, nil
}

// knows says whether the options show who asks.
func (i *Issuer) knows() bool { return i.options.Certificate != "" || i.options.User != "" }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
