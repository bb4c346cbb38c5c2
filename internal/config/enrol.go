// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func (e EST) check(d *decoder) {
	if e.Authority != "" && !jobName.MatchString(e.Authority) {
		d.wrong("issuing.est.authority", "it is the name of a CA")
	}
	if e.Retry != 0 && (e.Retry < time.Second || e.Retry > 24*time.Hour) {
		d.wrong("issuing.est.retry", "it is between 1s and 24h")
	}
}

func (s SPIFFE) check(d *decoder) {
	if s.Socket == "" && len(s.Workloads) > 0 {
		d.wrong("issuing.spiffe.workloads", "nobody can ask: set socket as well")
	}
	if s.Socket != "" && s.Authority == "" {
		d.wrong("issuing.spiffe.socket", "set authority as well, to the CA that signs")
	}
	var domain spiffeid.TrustDomain
	for i, w := range s.Workloads {
		path := fmt.Sprintf("issuing.spiffe.workloads[%d]", i)
		id, err := spiffeid.FromString(w.ID)
		switch {
		case err != nil || id.Path() == "":
			d.wrong(path+".id", "it is an identity such as spiffe://example.org/shop/backend")
		case !domain.IsZero() && id.TrustDomain() != domain:
			d.wrong(path+".id", "it is of another trust domain than those before it, which are of %s", domain)
		default:
			domain = id.TrustDomain()
		}
		w.check(d, path)
	}
}

func (w Workload) check(d *decoder, path string) {
	if w.User == "" && w.Group == "" && w.Path == "" && w.SHA256 == "" {
		d.wrong(path, "it would be any program: set user, group, path or sha256")
	}
	if w.Path != "" && (!filepath.IsAbs(w.Path) || filepath.Clean(w.Path) != w.Path) {
		d.wrong(path+".path", "it is an absolute path without . and ..")
	}
	if sum, err := hex.DecodeString(w.SHA256); w.SHA256 != "" && (err != nil || len(sum) != 32) {
		d.wrong(path+".sha256", "it has 64 hexadecimal digits, as sha256sum writes them")
	}
	if w.Lifetime < 0 || w.Lifetime > 0 && w.Lifetime < time.Minute {
		d.wrong(path+".lifetime", "it is at least 1m")
	}
}
