// SPDX-License-Identifier: Apache-2.0

// Package csrfile is the driver for CAs that no program can talk to: a person
// carries the request there and the certificate back.
//
// For an order the driver writes ORDER.csr (PKCS #10, PEM) into a directory and
// waits for ORDER.crt or ORDER.pem to appear beside it: the certificate with its
// chain, PEM in any order, or one certificate as DER. A file ORDER.refused, whose
// text says why, ends the order. Nothing that is there is ever overwritten or
// removed: the directory is also the record of what was asked for.
//
// The profile and the lifetime that are wanted are not written down anywhere: who
// runs the CA knows them, or the issuer has a directory for each.
package csrfile

import (
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Options are what can be set.
type Options struct {
	Directory string        `option:"directory" help:"absolute path of the directory for requests and certificates; it exists, and only those who may decide can write to it"`
	Every     time.Duration `option:"every" default:"15m" help:"how often to look whether a certificate has come"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("csrfile", "CAs that people carry requests to: writes them into a directory and waits for the certificates", open)
}

// Issuer has certificates made by way of one directory.
type Issuer struct {
	directory string
	every     time.Duration
}

var _ driver.Issuer = (*Issuer)(nil)

func open(o Options) (*Issuer, error) {
	if !filepath.IsAbs(o.Directory) {
		return nil, invalid("option directory: %q is not an absolute path", o.Directory)
	}
	if o.Every < time.Second {
		return nil, invalid("option every: it is a second or more")
	}
	return &Issuer{directory: filepath.Clean(o.Directory), every: o.Every}, nil
}

// orderName is what an order may be called, because its files are called so.
var orderName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
