// SPDX-License-Identifier: Apache-2.0

// Package config is the one file that sets Tallystick up. Config is its manual:
// docs/config.md is made from the comments of its fields. Everything may be left
// out; an empty file, or none, is a safe and working configuration. Everything
// that is not understood is an error that says where in the file it stands.
package config

import (
	"time"

	"github.com/tallystick/tallystick/driver"
)

// Config is a YAML file. It is read when `tally up` starts, and a change of it
// wants a restart. Paths in it that are not absolute are relative to the
// directory of the file. Durations are written as in "90s", "30m" or "24h".
type Config struct {
	// The address and port to listen on, for HTTPS. The default is
	// 127.0.0.1:8443, which only this machine can reach.
	Listen string `yaml:"listen"`

	// The directory where everything is kept. The default is
	// $XDG_DATA_HOME/tallystick, or ~/.local/share/tallystick.
	Data string `yaml:"data"`

	// The URL of a PostgreSQL database (postgres://...), for very large
	// inventories. Without one, everything is kept in a SQLite file in the data
	// directory. One `tally up` works on a database; a second one is refused.
	Database driver.Secret `yaml:"database"`

	// A file that holds the URL of the database, in place of `database`, so
	// that a password in it need not stand in this file.
	DatabaseFile string `yaml:"database_file"`

	// The certificate to serve the pages and the API with. Without one, a
	// self-signed certificate is made in the data directory.
	TLS TLS `yaml:"tls"`

	// The address and port to take syslog messages at, over TLS (RFC 5425), from
	// the senders that `tally source add --kind syslog` has registered; usually
	// ADDR:6514. It shows the certificate of the pages. Without it nothing listens.
	Syslog string `yaml:"syslog"`

	// A file that holds the token with which a scraper may read /metrics, sent
	// as a bearer token. Without it, /metrics takes API tokens only.
	MetricsTokenFile string `yaml:"metrics_token_file"`

	// How uses of credentials are kept and matched.
	Tally Tally `yaml:"tally"`

	// Files and directories of detection rules in the Sigma format, which are run
	// over the uses that come in. Those that cannot be used are named at the start
	// and left out; `tally sigma check --uses` says why.
	Sigma []string `yaml:"sigma"`

	// A file that says which operator each network belongs to, so that uses from
	// another prefix of the same operator are not called new: the table of
	// iptoasn.com (ip2asn-combined.tsv) or GeoLite2 ASN as CSV, packed with gzip or
	// not. Without it a network is 24 bits of an IPv4 address, or 48 of an IPv6
	// address. It is read at the start.
	ASNTable string `yaml:"asn_table"`

	// Where the key is that wraps all secrets which Tallystick keeps.
	Custody Custody `yaml:"custody"`

	// Credentials that customers have entrusted.
	Vault Vault `yaml:"vault"`

	// How certificates are issued here, and to whom.
	Issuing Issuing `yaml:"issuing"`

	// CAs of other people that Tallystick has certificates made by, each with a name of
	// your choice. `tally drivers` lists the drivers that can issue, with what they take.
	Issuers []Issuer `yaml:"issuers"`

	// Certificates that Tallystick has made for this machine, and renews.
	Renew []Renewal `yaml:"renew"`

	// Machines that are reached over SSH, for doors that are on them.
	Hosts []Host `yaml:"hosts"`

	// The installed systems that a recall works at, from here. Those of an agent stand in
	// its own configuration (docs/agent.md).
	Doors []Door `yaml:"doors"`

	// How recalls go that do not say otherwise.
	Recall Recall `yaml:"recall"`

	// Where agents come in.
	Agents Agents `yaml:"agents"`

	// Where to look for credentials, and how often. When the list is empty,
	// Tallystick looks at this machine once a day: its files, its trust
	// stores, and the TLS endpoints and SSH servers that listen on it.
	Discovery []Job `yaml:"discovery"`

	// How many jobs may look at the same time, from 1 to 64. The default is 4. The
	// one that has waited longest begins first, and no job looks twice at once. Set
	// it to more than there are jobs that take hours, or the others wait for those.
	// Jobs that look at one host together keep to per-host together; rate is of
	// each job.
	DiscoveryAtOnce int `yaml:"discovery_at_once"`

	// What people know about credentials: owners, environments, tags and
	// notes, given by rules. Every rule that matches applies, in the order of
	// the file: the first to set an owner, an environment or notes wins, and
	// tags add up. What a person sets by hand goes before all rules.
	Annotations []AnnotationRule `yaml:"annotate"`

	// Which rules judge the inventory.
	Rules Rules `yaml:"rules"`

	file *decoder // where things stand; nil when there is no file
}

// TLS names a certificate and its key.
type TLS struct {
	// A PEM file with the certificate, followed by its intermediates.
	Certificate string `yaml:"certificate"`

	// A PEM file with the private key of the certificate.
	Key string `yaml:"key"`
}

// Tally says how uses are kept and matched.
type Tally struct {
	// How far apart the two records of one use may be where no token id ties them:
	// the difference of the clocks, and the time that a request takes. The default
	// is 2m.
	Tolerance time.Duration `yaml:"tolerance"`

	// For how long uses are kept. What is older is removed, and is not taken in
	// again. The default is 9600h, which is 400 days.
	Keep time.Duration `yaml:"keep"`
}

// A Job is one place, or several of one sort, that is looked at again and again.
//
// Of each job the newest hundred looks are remembered, and the newest thousand
// that changed something; which places could not be seen is listed for the newest
// ten. What was noticed at a place is remembered for its last twenty changes. What
// was where, and from when to when, is kept for good.
type Job struct {
	// What to call the job: lower-case letters, digits and hyphens. What was
	// found is remembered under this name; a job with a new name starts afresh.
	Name string `yaml:"name"`

	// Which driver looks: `tally drivers` lists them with what they take.
	Driver string `yaml:"driver"`

	// Where the driver looks: absolute paths; or for tls and ssh names, addresses,
	// blocks such as 10.1.0.0/16, and ranges, each with ports if need be. Before
	// them may stand the protocol that is spoken first: https://, smtp://, imap://,
	// ldap://, postgres:// and others for tls, ssh:// for ssh. Without any target
	// the driver looks where its documentation says, usually at this machine.
	// Nothing is connected to that is not named here.
	Targets []string `yaml:"targets"`

	// How long to wait from one look to the next, at least a minute. The
	// default is 24h.
	Every time.Duration `yaml:"every"`

	// Settings of the driver, by name. They are not shown anywhere, because
	// some hold passphrases. For networks these matter most: ports, rate (of
	// connections begun in a second, in all), per-host and exclude. A look that
	// was cut short goes on where it stood as long as targets and settings stay
	// as they are, and begins again otherwise.
	Options map[string]driver.Secret `yaml:"options"`

	// Keeps the job from running by itself. What it found stays.
	Off bool `yaml:"off"`
}

// Values returns the options as driver.Driver.Open takes them.
func (j Job) Values() map[string]string {
	values := make(map[string]string, len(j.Options))
	for name, value := range j.Options {
		values[name] = value.Reveal()
	}
	return values
}

// An AnnotationRule says something about the credentials that it matches.
type AnnotationRule struct {
	// Which credentials the rule is about.
	Match Match `yaml:"match"`

	// Who is responsible for them.
	Owner string `yaml:"owner"`

	// Where they belong: production, staging, and so on.
	Environment string `yaml:"environment"`

	// Words to find them by.
	Tags []string `yaml:"tags"`

	// Anything else that is worth knowing.
	Notes string `yaml:"notes"`
}

// A Match picks credentials. Every field that is set must match, and at least
// one is set. In patterns, `*` stands for any run of characters within one part
// and `**` for any run at all; parts are divided by `/` in places, by `.` in
// names, by `,` in subjects and issuers and by `-` in algorithms. Case matters
// in places only.
type Match struct {
	// A pattern for one of the places where the credential is, such as
	// `file:///etc/nginx/**` or `tls://*.example.com:443`.
	Place string `yaml:"place"`

	// A pattern for the subject, such as `**CN=*.example.com**`.
	Subject string `yaml:"subject"`

	// A pattern for one of the names that the credential speaks for, such as
	// `*.example.com`.
	Name string `yaml:"name"`

	// A pattern for the issuer.
	Issuer string `yaml:"issuer"`

	// One of certificate, key, ssh-certificate, sealed (that nobody could open)
	// and named (known by its uses alone).
	Kind string `yaml:"kind"`

	// A pattern for the algorithm of the key, such as `rsa-*`.
	Algorithm string `yaml:"algorithm"`

	// A tag that an earlier rule gave.
	Tag string `yaml:"tag"`
}

// Rules says how the inventory is judged.
type Rules struct {
	// Rules that do not apply here.
	Off []RuleOff `yaml:"off"`
}

// A RuleOff turns one rule off.
type RuleOff struct {
	// The name of the rule, as findings show it.
	Rule string `yaml:"rule"`

	// Why it does not apply here, for whoever asks later.
	Reason string `yaml:"reason"`
}
