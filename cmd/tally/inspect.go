// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/scan"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/parse"
)

func (p *program) inspectCommand() *cobra.Command {
	var flags dataFlags
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "inspect FILE|HOST:PORT|FINGERPRINT",
		Short: "Explain one credential: what it says, what is wrong with it, and what to do",
		Long: `Explain a credential: what it says, where it is, what is wrong with it, and what
to do about that. A FILE may hold several; "-" is standard input. HOST:PORT is
asked for TLS; smtp://HOST, ssh://HOST and the like begin with another protocol.
A FINGERPRINT, or the beginning of one, is looked up in the inventory.

` + exitStatuses("0 done", "1 something failed, the endpoint did not answer, or there is no such credential", "2 bad usage, or a file that cannot be read or holds no credential"),
		Example: `  tally inspect /etc/ssl/certs/ssl-cert-snakeoil.pem
  tally inspect mail.example.com:465
  tally inspect 3fa4b2c1d0e9
  openssl s_client -connect localhost:443 </dev/null | tally inspect -`,
		Args: exactly(1, "a file, host:port or a fingerprint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.inspect(cmd.Context(), flags, args[0], asJSON, timeout)
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long one connection may take")
	return cmd
}

// fingerprintForm is what a fingerprint or the beginning of one looks like.
var fingerprintForm = regexp.MustCompile(`^[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){2,31}$|^[0-9A-Fa-f]{6,64}$`)

// inspect is the command.
func (p *program) inspect(ctx context.Context, flags dataFlags, what string, asJSON bool, timeout time.Duration) error {
	_, statErr := os.Lstat(what)
	if statErr != nil && fingerprintForm.MatchString(what) {
		return p.inside(ctx, flags, func(ctx context.Context, h *house) error { return p.inspectKnown(ctx, h, what, asJSON) })
	}
	s := p.newScan(nil, inspectSettings(timeout))
	if err := p.lookAt(ctx, s, what); err != nil {
		return err
	}
	result, err := s.Judge(ctx)
	if err != nil {
		return err
	}
	if result.Size() == 0 {
		return nothingSeen(what, result.Misses)
	}
	out, err := p.create("")
	if err != nil {
		return err
	}
	if asJSON {
		err = printSightings(out, result, true)
	} else {
		err = p.explainAll(out, slices.Collect(result.All()))
	}
	return errors.Join(err, out.done())
}

// inspectSettings are the options of drivers: an endpoint is asked for all that
// it can tell.
func inspectSettings(timeout time.Duration) map[string]map[string]string {
	return map[string]map[string]string{
		"ssh": {"timeout": timeout.String()}, "tls": {"timeout": timeout.String(), "depth": string(tallystick.DepthSuites)},
	}
}

// lookAt gathers what is in a file, at an endpoint or on standard input.
func (p *program) lookAt(ctx context.Context, s *scan.Scan, what string) error {
	if err := s.Trust(ctx); err != nil {
		return err
	}
	if what == "-" {
		return p.readInput(s)
	}
	targets, _, err := p.scanTargets(ctx, s, []string{what})
	if err != nil {
		return err
	}
	if targets.Size > 1 {
		return misuse(fmt.Errorf("%s is more than one endpoint", what), fmt.Sprintf("run %q", "tally scan "+what))
	}
	return s.Look(ctx, targets)
}

// maxInput is how many bytes of standard input are read.
const maxInput = 16 << 20

// inputPlace is where credentials from standard input are.
const inputPlace tallystick.Place = "file:///dev/stdin"

// readInput reads credentials from standard input. Text around PEM blocks is
// passed over, as in what openssl s_client prints.
func (p *program) readInput(s *scan.Scan) error {
	data, err := io.ReadAll(io.LimitReader(p.in, maxInput+1))
	if err != nil {
		return fmt.Errorf("couldn't read standard input: %w", err)
	}
	if len(data) > maxInput {
		return misuse(fmt.Errorf("standard input has more than %d bytes", maxInput), "scan a file instead")
	}
	result := parse.Bytes("stdin.pem", data, nil)
	for _, item := range result.Items {
		err := s.Saw(tallystick.Sighting{
			Credential: item.Credential, Place: inputPlace, Role: item.Role, Seen: p.now(),
			Facts: tallystick.Facts{SSH: item.SSH, File: &tallystick.FileFacts{
				Format: item.Format, Alias: item.Alias, Private: item.Private, Passphrase: item.Passphrase, WeakPassphrase: item.WeakPassphrase,
			}},
		})
		if err != nil {
			return err
		}
	}
	for _, problem := range result.Problems {
		if err := s.Missed(tallystick.Miss{Place: inputPlace, Error: problem.Word, Detail: problem.Detail, Seen: p.now()}); err != nil {
			return err
		}
	}
	return nil
}

// nothingSeen says why there is nothing to explain.
func nothingSeen(what string, misses []tallystick.Miss) error {
	if len(misses) == 0 {
		return misuse(fmt.Errorf("there is no credential in %s", what), "it reads PEM, DER, PKCS #7, #8 and #12, Java keystores, and the files of OpenSSH")
	}
	m := misses[0]
	text := m.Error
	if m.Detail != "" {
		text += ": " + m.Detail
	}
	err := fmt.Errorf("couldn't see a credential at %s: %s", placeText(m.Place), text)
	if m.Place.Scheme() == "file" {
		return misuse(err, `"tally scan" looks through directories`)
	}
	return &statusError{err: err, status: problem.ExitFailed, hint: missHint(m)}
}

// missHint says what to do about an endpoint that was not seen.
func missHint(m tallystick.Miss) string {
	_, at, _ := strings.Cut(string(m.Place), "://")
	switch m.Error {
	case "refused":
		return "nothing listens there: check the name and the port"
	case "timeout":
		return "nothing came back: check the name, the port and what is in between, or wait longer with --timeout"
	case "no-such-host", "lookup-failed":
		return "check the spelling of the name, and the resolver of this machine"
	case "unreachable":
		return "no way leads there from this machine: check the address and the route"
	case "no-starttls":
		return "it speaks the protocol and offers no TLS: turn STARTTLS on there, or name the port where TLS begins with the first byte, without a protocol before it"
	case "not-tls":
		if m.Place.Scheme() != "tls" {
			return "it speaks another protocol: check the port"
		}
		return fmt.Sprintf("it does not begin with TLS: name what it speaks first, as in smtp://%[1]s or ssh://%[1]s", at)
	case "not-ssh":
		return "it does not speak SSH: check the port, or try " + at + " for TLS"
	}
	return "check the name, the port and the protocol"
}

// explainAll explains every credential that was seen.
func (p *program) explainAll(out io.Writer, found []scan.Found) error {
	for i, group := range byCredential(found) {
		if i > 0 {
			fmt.Fprintln(out)
		}
		e := explained{credential: &group[0].Credential, now: p.now()}
		for _, j := range group {
			e.places = append(e.places, placeLine(j.Place, j.Role, j.Facts))
			e.addServer(j.Place, j.Facts.SSH)
			e.addEndpoint(j.Place, j.Facts.TLS)
			e.add(j.Findings)
		}
		if err := e.print(out); err != nil {
			return err
		}
	}
	return nil
}

// byCredential groups sightings, in the order of the first of each group.
func byCredential(found []scan.Found) [][]scan.Found {
	at := map[tallystick.Fingerprint]int{}
	var groups [][]scan.Found
	for _, j := range found {
		i, ok := at[j.Credential.ID]
		if !ok {
			i = len(groups)
			at[j.Credential.ID], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], j)
	}
	return groups
}

// knownLine is what --json writes for a credential of the inventory.
type knownLine struct {
	Credential *tallystick.Credential `json:"credential"`
	Annotation tallystick.Annotation  `json:"annotation"`
	FirstSeen  time.Time              `json:"first_seen"`
	Sightings  []store.SightingRow    `json:"sightings"`
	Findings   []store.FindingRow     `json:"findings"`
}

// inspectKnown explains a credential of the inventory.
func (p *program) inspectKnown(ctx context.Context, h *house, name string, asJSON bool) error {
	d, err := h.inventory.Credential(ctx, h.actor, name)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(p.out).Encode(knownLine{d.Credential, d.Row.Annotation, d.Row.FirstSeen, d.Sightings, d.Findings})
	}
	out, err := p.create("")
	if err != nil {
		return err
	}
	if err := p.explainKnown(d).print(out); err != nil {
		return err
	}
	return out.done()
}

func (p *program) explainKnown(d *inventory.Detail) *explained {
	e := &explained{credential: d.Credential, now: p.now(), annotation: d.Row.Annotation, firstSeen: d.Row.FirstSeen}
	for _, s := range d.Sightings {
		line := placeLine(s.Place, s.Role, s.Facts)
		if !s.GoneSince.IsZero() {
			line += ", gone since " + dayOf(s.GoneSince)
		}
		e.places = append(e.places, line)
		if s.GoneSince.IsZero() {
			e.addServer(s.Place, s.Facts.SSH)
			e.addEndpoint(s.Place, s.Facts.TLS)
		}
	}
	for _, s := range d.Holders {
		if s.Credential != d.Credential.ID {
			e.holders = append(e.holders, placeLine(s.Place, s.Role, s.Facts))
		}
	}
	for _, c := range d.SameKey {
		e.sameKey = append(e.sameKey, words(string(c.Kind), c.ID.Short(), c.Subject))
	}
	for _, f := range d.Findings {
		e.add([]tallystick.Finding{f.Finding})
	}
	return e
}

// placeLine says in a line what a credential does at a place.
func placeLine(place tallystick.Place, role tallystick.Role, facts tallystick.Facts) string {
	word := roleWord(role)
	if place.Scheme() == "truststore" || role == tallystick.RoleAccepts && facts.SSH == nil && facts.Entra == nil {
		word = "trusted here"
	}
	parts := []string{placeText(place) + ": " + word}
	if f := facts.File; f != nil {
		parts = append(parts, fileWords(f)...)
	}
	if t := facts.TLS; t != nil {
		if t.Process != "" {
			parts = append(parts, "by "+t.Process)
		}
		parts = append(parts, strings.Join(t.Protocols, " "))
		if t.VerifyError != "" {
			parts = append(parts, "clients refuse it: "+t.VerifyError)
		}
	}
	if s := facts.SSH; s != nil && s.Account != "" {
		parts = append(parts, "for the account "+s.Account)
	}
	if e := facts.Entra; e != nil {
		parts = append(parts, entraWords(e)...)
	}
	return strings.Join(strings.Fields(strings.Join(nonEmpty(parts), ", ")), " ")
}

func roleWord(role tallystick.Role) string {
	switch role {
	case tallystick.RoleHolds:
		return "the private half is here"
	case tallystick.RoleAccepts:
		return "let in here"
	}
	return "kept or shown here"
}

func fileWords(f *tallystick.FileFacts) []string {
	parts := []string{words(f.Format, f.Alias)}
	if f.Mode != "" {
		parts = append(parts, words(f.Mode, f.Owner+":"+f.Group))
	}
	if f.Private {
		switch {
		case f.WeakPassphrase:
			parts = append(parts, "under a passphrase that everybody knows")
		case f.Passphrase:
			parts = append(parts, "under a passphrase")
		default:
			parts = append(parts, "no passphrase")
		}
		if len(f.Readers) > 0 {
			parts = append(parts, "readable by "+strings.Join(f.Readers, " "))
		}
	}
	for _, u := range f.UsedBy {
		parts = append(parts, fmt.Sprintf("used by %s (%s:%d)", u.Service, u.Config, u.Line))
	}
	return parts
}

// mostGrants is how many grants a line of a place has.
const mostGrants = 5

func entraWords(e *tallystick.EntraFacts) []string {
	parts := []string{"signs in as " + cmp.Or(e.Name, e.Application)}
	if e.Home != "" {
		parts = append(parts, "an application of the tenant "+e.Home)
	}
	if e.Disabled {
		parts = append(parts, "disabled")
	}
	for _, g := range e.Grants[:min(len(e.Grants), mostGrants)] {
		parts = append(parts, words(g.Opens, "("+g.Name+")"))
	}
	if more := len(e.Grants) - mostGrants; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return parts
}

func nonEmpty(list []string) []string {
	var kept []string
	for _, s := range list {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}
