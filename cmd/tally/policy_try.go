// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lint"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/parse"
)

// A policyRequest is a request to try, as flags or as a line of a file say it.
type policyRequest struct {
	Who        string   `json:"who,omitempty"`
	Role       string   `json:"role,omitempty"`
	Via        string   `json:"via,omitempty"`
	Authority  string   `json:"authority,omitempty"`
	Profile    string   `json:"profile,omitempty"`
	DNS        []string `json:"dns,omitempty"`
	IPs        []string `json:"ips,omitempty"`
	Emails     []string `json:"emails,omitempty"`
	URIs       []string `json:"uris,omitempty"`
	Principals []string `json:"principals,omitempty"`
	CommonName string   `json:"common_name,omitempty"`
	Key        string   `json:"key,omitempty"`
	Lifetime   string   `json:"lifetime,omitempty"`
	Proven     bool     `json:"proven,omitempty"`
	Renewal    bool     `json:"renewal,omitempty"`
	Binding    string   `json:"binding,omitempty"`
	At         string   `json:"at,omitempty"` // RFC 3339, or a day; "" is now

	keyID string
}

// What a request comes to, in the words of files and of --json.
const (
	policyAllow   = "allow"
	policyRefuse  = "refuse"
	policyApprove = "approve"
)

// outcomeOf returns the word for a decision.
func outcomeOf(d policy.Decision) string {
	switch {
	case !d.Allowed:
		return policyRefuse
	case d.NeedsApproval:
		return policyApprove
	}
	return policyAllow
}

func (p *program) policyTestCommand() *cobra.Command {
	var r policyRequest
	var path, csr, file string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "test", Short: "Try what the rules say of a request, without making it",
		Long: `Try what the rules say of a request for a certificate: whether it would be
allowed, and what each rule says of it and why. Nothing is asked for or changed,
and no server needs to run. What is not set is as for a client of the API that
has proven nothing.

It asks the rules alone. The limits of profiles (lifetime at most, sorts of names
and of keys) are looked at when a certificate is asked for, so that what the rules
allow may still be refused then.

With --file, try the requests of a file against what is expected of them, one
JSON object a line, such as
  {"who":"svc","dns":["a.lab.test"],"key":"ecdsa-p256","expect":"refuse"}
The members are the flags, with "_" for "-", "who" for --as, "dns", "ips",
"emails", "uris" and "principals" as lists, and "expect": "allow", "refuse" or
"approve". docs/policy.md has an example.

` + exitStatuses("0 it would be allowed, perhaps once somebody approves; with --file all is as expected",
			"1 something failed", "2 bad usage, or a file that cannot be read", "3 it would be refused; with --file something is not as expected"),
		Example: `  tally policy test --dns a.lab.test --as svc --lifetime 24h
  tally policy test --config tally.yaml --csr request.pem --via acme --proven
  tally policy test --config tally.yaml --file requests.ndjson`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, rules, err := p.loadPolicy(path)
			if err != nil {
				return err
			}
			try := policyTrial{rules: rules, now: p.now(), json: asJSON, program: p}
			if try.profiles, err = profilesOf(c); err != nil {
				return err
			}
			if file != "" {
				return try.file(file)
			}
			if csr != "" {
				if err := r.readCSR(csr); err != nil {
					return err
				}
			}
			return try.one(r)
		},
	}
	r.register(cmd)
	cmd.Flags().StringVar(&path, "config", "", "read this configuration `FILE`")
	cmd.Flags().StringVar(&csr, "csr", "", "take key and names from a certificate request in `FILE`")
	cmd.Flags().StringVar(&file, "file", "", "try the requests of a `FILE`, or of standard input with -")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	cmd.MarkFlagsMutuallyExclusive("file", "csr")
	return cmd
}

func (r *policyRequest) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.Profile, "profile", "", "for this `PROFILE` (default server)")
	f.StringSliceVar(&r.DNS, "dns", nil, "with these DNS `NAMES`")
	f.StringSliceVar(&r.IPs, "ip", nil, "with these IP `ADDRESSES`")
	f.StringSliceVar(&r.Emails, "email", nil, "with these mail `ADDRESSES`")
	f.StringSliceVar(&r.URIs, "uri", nil, "with these `URIS`")
	f.StringSliceVar(&r.Principals, "principal", nil, "with these `PRINCIPALS` of SSH or Kerberos")
	f.StringVar(&r.CommonName, "common-name", "", "with this common `NAME`")
	f.StringVar(&r.Key, "key", "", "for a key of this `SORT` (default ecdsa-p256)")
	f.StringVar(&r.Lifetime, "lifetime", "", "valid for this `TIME` (default that of the profile)")
	f.StringVar(&r.Who, "as", "", "asked for by this person, token or account `NAME`")
	f.StringVar(&r.Role, "role", "", "who has this `ROLE`: client, viewer, operator or admin (default client)")
	f.StringVar(&r.Via, "via", "", "over this `WAY`: api, acme, est, ssh, spiffe, renewal or local (default api)")
	f.StringVar(&r.Authority, "authority", "", "from this `CA`")
	f.StringVar(&r.Binding, "binding", "", "by an ACME account that is bound to this external `ACCOUNT`")
	f.BoolVar(&r.Proven, "proven", false, "with control of every name proven, as by an ACME challenge")
	f.BoolVar(&r.Renewal, "renewal", false, "in place of an earlier one")
	f.StringVar(&r.At, "at", "", "as if it were this `TIME`: a day, or as in 2027-03-15T12:00:00Z (default now)")
}

// maxCSRFile bounds a certificate request, in bytes.
const maxCSRFile = 64 << 10

// readCSR takes key and names from a certificate request.
func (r *policyRequest) readCSR(path string) error {
	text, err := readAtMost(path, maxCSRFile)
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(text); block != nil {
		text = block.Bytes
	}
	csr, err := x509.ParseCertificateRequest(text)
	if err != nil {
		return misuse(fmt.Errorf("%s is no certificate request: %w", path, err), "make one with openssl req -new")
	}
	if err := cmp.Or(lint.CheckKey(csr.PublicKey), csr.CheckSignature()); err != nil {
		return &statusError{err: fmt.Errorf("refused before any rule is asked: %w", err), status: problem.ExitFindings, hint: "make a new key and ask with that"}
	}
	key, err := parse.Key(csr.RawSubjectPublicKeyInfo)
	if err != nil {
		return misuse(fmt.Errorf("the key of %s cannot be read: %w", path, err), "make a new key")
	}
	r.Key, r.keyID = key.Algorithm, string(key.ID)
	r.DNS, r.Emails = append(r.DNS, csr.DNSNames...), append(r.Emails, csr.EmailAddresses...)
	for _, ip := range csr.IPAddresses {
		r.IPs = append(r.IPs, ip.String())
	}
	for _, u := range csr.URIs {
		r.URIs = append(r.URIs, u.String())
	}
	r.CommonName = cmp.Or(r.CommonName, csr.Subject.CommonName)
	return nil
}

// readAtMost reads a file that is not larger than limit bytes.
func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, misuse(err, "check the spelling of the path")
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, misuse(fmt.Errorf("%s has more than %d bytes", path, limit), "name another file")
	}
	return text, nil
}

// A policyTrial tries requests.
type policyTrial struct {
	rules    *policy.Policy
	profiles []ca.Profile
	now      time.Time
	json     bool
	program  *program
}

// request makes of what was said what the rules are shown.
func (t *policyTrial) request(r policyRequest) (policy.Request, error) {
	out := policy.Request{
		Who: r.Who, Role: cmp.Or(r.Role, gate.Client.String()), Via: cmp.Or(r.Via, ca.ViaAPI), Authority: r.Authority, Profile: cmp.Or(r.Profile, ca.DefaultProfile),
		Emails: r.Emails, URIs: r.URIs, Principals: r.Principals, CommonName: r.CommonName, Proven: r.Proven, KeyType: cmp.Or(r.Key, "ecdsa-p256"), KeyID: r.keyID,
		Renewal: r.Renewal, Binding: r.Binding, Now: t.now,
	}
	if _, err := gate.ParseRole(out.Role); err != nil {
		return out, err
	}
	at := slices.IndexFunc(t.profiles, func(p ca.Profile) bool { return p.Name == out.Profile })
	if at < 0 {
		var known []string
		for _, p := range t.profiles {
			known = append(known, p.Name)
		}
		return out, misuse(fmt.Errorf("there is no profile %q", out.Profile), "it is one of "+strings.Join(known, ", "))
	}
	out.Lifetime = t.profiles[at].Lifetime
	for _, name := range r.DNS {
		out.DNS = append(out.DNS, strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	for _, ip := range r.IPs {
		address, err := netip.ParseAddr(ip)
		if err != nil {
			return out, misuse(fmt.Errorf("%q is no IP address", ip), "write it as in 10.1.2.3")
		}
		out.IPs = append(out.IPs, address.Unmap().String())
	}
	var err error
	if r.Lifetime != "" {
		if out.Lifetime, err = time.ParseDuration(r.Lifetime); err != nil {
			return out, misuse(fmt.Errorf("%q is no time", r.Lifetime), "write it as in 90m or 24h")
		}
	}
	if r.At != "" {
		if out.Now, err = time.Parse(time.RFC3339, r.At); err != nil {
			if out.Now, err = time.Parse(time.DateOnly, r.At); err != nil {
				return out, misuse(fmt.Errorf("%q is no time", r.At), "write it as in 2027-03-15 or 2027-03-15T12:00:00Z")
			}
		}
	}
	return out, nil
}

// A policyAnswer is what "tally policy test --json" writes.
type policyAnswer struct {
	Outcome  string           `json:"outcome"`
	Why      string           `json:"why,omitempty"`
	Verdicts []policy.Verdict `json:"verdicts"`
}

// one tries one request.
func (t *policyTrial) one(r policyRequest) error {
	request, err := t.request(r)
	if err != nil {
		return err
	}
	d := t.rules.Decide(request)
	answer := policyAnswer{Outcome: outcomeOf(d), Why: d.Why(), Verdicts: d.Verdicts}
	if t.json {
		encoder := json.NewEncoder(escaping{t.program.out})
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(answer)
	} else {
		err = answer.print(t.program.out)
	}
	if err != nil {
		return fmt.Errorf("couldn't write the decision: %w", err)
	}
	if !d.Allowed {
		return &statusError{err: errors.New("the request would be refused"), status: problem.ExitFindings, hint: `"tally policy explain RULE" says more about a rule`}
	}
	return nil
}

// print writes the decision for a person: what comes of the request, then what each
// rule says.
func (a policyAnswer) print(out io.Writer) error {
	w := &reportWriter{out: out}
	switch a.Outcome {
	case policyRefuse:
		w.line("refused because %s", clean(a.Why))
	case policyApprove:
		w.line("allowed once somebody approves: %s", clean(a.Why))
	default:
		w.line("allowed")
	}
	w.line("")
	for _, v := range a.Verdicts {
		origin := ""
		if v.BuiltIn {
			origin = " (built in)"
		}
		w.line("  %-15s %s%s", v.Outcome, clean(v.Rule), origin)
		if v.Explanation == "" && (v.Outcome == policy.Allowed || v.Outcome == policy.NotApplicable) {
			continue
		}
		for _, line := range []struct{ label, text string }{{"because", v.Because}, {"in detail", v.Explanation}, {"see", v.Citation}} {
			if line.text != "" {
				w.line("  %-15s   %s: %s", "", line.label, clean(line.text))
			}
		}
	}
	return w.err
}
