// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tallystick/tallystick"
)

var jobName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// check notes what is well-formed and makes no sense. Whether there are such
// drivers, options and rules is known to those who have them.
func (c *Config) check(d *decoder) {
	if c.Listen != "" && !isAddress(c.Listen) {
		d.wrong("listen", "it is an address and a port, such as %s", defaultListen)
	}
	if c.Syslog != "" && !isAddress(c.Syslog) {
		d.wrong("syslog", "it is an address and a port, such as 0.0.0.0:6514")
	}
	if !c.Database.IsZero() && !isPostgres(c.Database) {
		d.wrong("database", "it is a URL that begins with postgres://; leave it out to use SQLite in the data directory")
	}
	if !c.Database.IsZero() && c.DatabaseFile != "" {
		d.wrong("database_file", "it takes the place of database: set one of the two")
	}
	if c.TLS.Certificate == "" && c.TLS.Key != "" || c.TLS.Certificate != "" && c.TLS.Key == "" {
		d.wrong("tls", "certificate and key go together: set both, or none")
	}
	if c.Tally.Tolerance < 0 || c.Tally.Tolerance > time.Hour {
		d.wrong("tally.tolerance", "it is between 0s and 1h")
	}
	if c.Tally.Keep != 0 && c.Tally.Keep < 24*time.Hour {
		d.wrong("tally.keep", "it is at least 24h")
	}
	if host := c.Vault.Host; len(host) > maxWord || strings.ContainsFunc(host, notInHost) {
		d.wrong("vault.host", "it is the name of a host, of at most %d bytes, with no space and no @", maxWord)
	}
	if _, set := d.at["discovery_at_once"]; set && (c.DiscoveryAtOnce < 1 || c.DiscoveryAtOnce > maxAtOnce) {
		d.wrong("discovery_at_once", "it is between 1 and %d", maxAtOnce)
	}
	c.checkJobs(d)
	c.checkIssuing(d)
	c.checkRecalls(d)
	for i, rule := range c.Annotations {
		rule.check(d, fmt.Sprintf("annotate[%d]", i))
	}
	for i, off := range c.Rules.Off {
		path := fmt.Sprintf("rules.off[%d]", i)
		if off.Rule == "" {
			d.wrong(path+".rule", "it names the rule that does not apply")
		}
		if strings.TrimSpace(off.Reason) == "" {
			d.wrong(path+".reason", "it says why the rule does not apply")
		}
	}
}

// maxAtOnce is how many jobs may look at once: each may hold some forty megabytes
// that are not written yet.
const maxAtOnce = 64

// notInHost says what is in no name of a host: with an @, a time would begin in "host/NAME@FROM/TO".
func notInHost(r rune) bool { return r == '@' || unicode.IsSpace(r) || !unicode.IsPrint(r) }

// isAddress says whether a text is an address and a port to listen on.
func isAddress(text string) bool {
	_, port, err := net.SplitHostPort(text)
	n, nan := strconv.ParseUint(port, 10, 16)
	return err == nil && nan == nil && (n > 0 || port == "0")
}

func (c *Config) checkJobs(d *decoder) {
	seen := map[string]bool{}
	for i, job := range c.Discovery {
		path := fmt.Sprintf("discovery[%d]", i)
		switch {
		case !jobName.MatchString(job.Name):
			d.wrong(path+".name", "it has lower-case letters, digits and hyphens, and at most 63 of them")
		case seen[job.Name]:
			d.wrong(path+".name", "another job is called %s too", job.Name)
		}
		seen[job.Name] = true
		if job.Driver == "" {
			d.wrong(path+".driver", "it says which driver looks")
		}
		if job.Every != 0 && job.Every < time.Minute {
			d.wrong(path+".every", "it is at least 1m")
		}
	}
}

// check notes what is wrong with a rule.
func (r AnnotationRule) check(d *decoder, path string) {
	m := r.Match
	if m == (Match{}) {
		d.wrong(path+".match", "it says which credentials the rule is about; place: '**' is about all that are somewhere")
	}
	if r.Owner == "" && r.Environment == "" && r.Notes == "" && len(r.Tags) == 0 {
		d.wrong(path, "the rule says nothing: set owner, environment, tags or notes")
	}
	for _, pattern := range []struct{ key, text string }{
		{"place", m.Place}, {"subject", m.Subject}, {"name", m.Name}, {"issuer", m.Issuer}, {"algorithm", m.Algorithm},
	} {
		if len(pattern.text) > maxPattern {
			d.wrong(path+".match."+pattern.key, "a pattern has at most %d bytes", maxPattern)
		}
	}
	switch tallystick.Kind(m.Kind) {
	case "", tallystick.KindCertificate, tallystick.KindKey, tallystick.KindSSHCertificate, tallystick.KindSealed, tallystick.KindNamed:
	default:
		d.wrong(path+".match.kind", "it is one of certificate, key, ssh-certificate, sealed, named")
	}
	for i, tag := range r.Tags {
		if tag == "" || len(tag) > maxTag || strings.ContainsFunc(tag, notInTag) {
			d.wrong(fmt.Sprintf("%s.tags[%d]", path, i), "a tag has no spaces and no commas, and at most %d bytes", maxTag)
		}
	}
}

// maxTag is the length of the longest tag, in bytes.
const maxTag = 100

func notInTag(r rune) bool { return r == ',' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
