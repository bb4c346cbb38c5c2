// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Renewal is a certificate that is had from an issuer, and renewed before it ends.
// `tally renew add` adds others, which stand in the inventory alone.
type Renewal struct {
	// What to call it: lower-case letters, digits and hyphens.
	Name string `yaml:"name"`

	// Who makes the certificate: ca/NAME for a CA of your own, or one of issuers.
	Issuer string `yaml:"issuer"`

	// What it is for. The default is server.
	Profile string `yaml:"profile"`

	// What it is for: host names, addresses, e-mail addresses, URIs.
	Names []string `yaml:"names"`

	// The sort of its keys. The default is ecdsa-p256.
	Key string `yaml:"key"`

	// Keeps one key from certificate to certificate, unless that is recalled. Without it
	// each certificate has a new one.
	KeepKey bool `yaml:"keep_key"`

	// How long it should be valid. The default is what the issuer gives.
	Lifetime time.Duration `yaml:"lifetime"`

	// After how many percent of its lifetime it is renewed, from 10 to 90. The default is
	// two thirds. An issuer that says itself when (RFC 9773) goes before this.
	RenewAt int `yaml:"renew_at"`

	// The directory that key.pem, cert.pem, chain.pem and fullchain.pem are written to.
	// Without one nothing is written.
	Directory string `yaml:"directory"`

	// A command to run after that: a program by its whole path, and its arguments. There
	// is no shell. It may be run more than once for a certificate.
	Hook []string `yaml:"hook"`

	// How long the command may take. The default is 1m.
	HookTimeout time.Duration `yaml:"hook_timeout"`
}

// checkRenewals notes what makes no sense about renewals.
func (c *Config) checkRenewals(d *decoder) {
	n, directories := newNames(), map[string]string{}
	for i, r := range c.Renew {
		path := fmt.Sprintf("renew[%d]", i)
		n.check(d, path+".name", "renewal", r.Name)
		if r.Issuer == "" {
			d.wrong(path+".issuer", "it says who makes the certificate")
		}
		if len(r.Names) == 0 {
			d.wrong(path+".names", "it says what the certificate is for")
		}
		if r.Key != "" && (!slices.Contains(keyKinds(), r.Key) || r.Key == "ecdsa-p521") {
			d.wrong(path+".key", "there is no such sort of key%s", suggest(r.Key, keyKinds()))
		}
		if r.Lifetime < 0 || r.Lifetime > 0 && r.Lifetime < time.Minute {
			d.wrong(path+".lifetime", "it is at least 1m")
		}
		if r.RenewAt != 0 && (r.RenewAt < 10 || r.RenewAt > 90) {
			d.wrong(path+".renew_at", "it is between 10 and 90")
		}
		if len(r.Hook) > 0 && !strings.HasPrefix(r.Hook[0], "/") {
			d.wrong(path+".hook", "it begins with the whole path of a program, such as /usr/bin/systemctl")
		}
		if r.HookTimeout < 0 || r.HookTimeout > 30*time.Minute {
			d.wrong(path+".hook_timeout", "it is between 0s and 30m")
		}
		if r.Directory == "" {
			continue
		}
		if other := directories[filepath.Clean(r.Directory)]; other != "" {
			d.wrong(path+".directory", "%s writes there too", other)
		}
		directories[filepath.Clean(r.Directory)] = r.Name
	}
}
