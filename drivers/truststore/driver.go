// SPDX-License-Identifier: Apache-2.0

// Package truststore is the driver that lists whom this machine believes: the
// certificates in its trust stores.
//
// A target is the absolute path of a store, also written as
// truststore:///path: a bundle in PEM, a Java keystore, or a directory. Of a
// directory the driver reads what OpenSSL would (the files named by a subject
// hash) and the bundle ca-certificates.crt beside them; where there is neither,
// every file that ends in .pem, .crt or .cer. It does not descend.
//
// Without targets it looks at the stores of the system, of the Java runtimes
// and of Python's certifi that are where packages put them. A store that
// several paths lead to is seen once, at the path that the others point to.
//
// Each certificate is seen once in each store, at the place of the store. Of a
// Java keystore only the entries that are marked as trusted count. A store is
// read whole, also where its files are links into directories that the driver
// files leaves out: whom a machine believes does not hang on where the bytes lie.
// Stores that are compiled into a program (Node.js, Firefox, Chromium) stay
// unseen, and so do those of p11-kit that it makes up from other files.
package truststore

import "github.com/tallystick/tallystick/driver"

// Options are what can be set.
type Options struct {
	Passphrase driver.Secret `option:"passphrase" help:"passphrase of keystores, beside those that everybody knows"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("truststore", "trust stores: the certificates that this machine believes", open)
}

// Finder finds the certificates in trust stores.
type Finder struct{ options Options }

func open(o Options) (*Finder, error) { return &Finder{options: o}, nil }

var _ driver.Finder = (*Finder)(nil)
