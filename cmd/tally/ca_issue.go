// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/problem"
)

type caIssueFlags struct {
	dataFlags
	request   ca.Request
	csr, key  string
	directory string
	names     ca.Names
	replaces  string
	json      bool
}

func (p *program) caIssue() *cobra.Command {
	var flags caIssueFlags
	cmd := &cobra.Command{
		Use: "issue [NAME...]", Short: "Issue a certificate",
		Long: `Issue a certificate: for the names of a request (--csr), or for NAMEs, which are host
names and addresses. Without a request a key is made here and written beside the
certificate; it is kept nowhere else.

` + caStatuses(),
		Example: `  tally ca issue web.lab.test --out web
  tally ca issue --csr web.csr > web.pem
  tally ca issue --profile postgresql --common-name reports --out reports --lifetime 24h`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.read(args); err != nil {
				return err
			}
			return p.insideCA(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, c *ca.CA) error { return p.issue(ctx, h, c, flags) })
		},
	}
	flags.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.request.Authority, "ca", "", "by this `CA` (default the only one that signs)")
	f.StringVar(&flags.request.Profile, "profile", "", "for this `PURPOSE`: \"tally ca profiles\" lists them (default server)")
	f.StringVar(&flags.csr, "csr", "", "for the key and the names of the request in this `FILE`; - is standard input")
	f.StringVar(&flags.directory, "out", "", "write key.pem, cert.pem, chain.pem and fullchain.pem into this `DIR`")
	f.StringVar(&flags.key, "key", string(custody.P256), "make a key of this `SORT`: "+strings.Join(custody.KeyWords(), ", "))
	f.DurationVar(&flags.request.Lifetime, "lifetime", 0, "valid for this `DURATION` (default that of the profile)")
	f.StringVar(&flags.names.CommonName, "common-name", "", "with this `NAME` as subject, for profiles that have one")
	f.StringSliceVar(&flags.names.URIs, "uri", nil, "for these `URIS`")
	f.StringSliceVar(&flags.names.Emails, "email", nil, "for these mail `ADDRESSES`")
	f.StringSliceVar(&flags.names.Principals, "principal", nil, "for these Kerberos `PRINCIPALS`, as in HTTP/web@LAB.TEST")
	f.StringVar(&flags.replaces, "replaces", "", "in place of the certificate with this `SERIAL`")
	f.BoolVar(&flags.json, "json", false, "write what was issued as a JSON object")
	completeFlag(cmd, "key", custody.KeyWords)
	return cmd
}

// read makes the request of the flags.
func (f *caIssueFlags) read(args []string) error {
	for _, name := range args {
		if ip, err := netip.ParseAddr(name); err == nil {
			f.names.IPs = append(f.names.IPs, ip)
		} else {
			f.names.DNS = append(f.names.DNS, name)
		}
	}
	named := len(f.names.All()) > 0
	switch {
	case f.csr == "" && !named:
		return misuse(errors.New("there is neither a name nor a request"), "for example: tally ca issue web.lab.test --out web")
	case f.csr == "" && f.directory == "":
		return misuse(errors.New("there is nowhere to write the key"), "name a directory with --out, or bring a request of your own with --csr")
	}
	if named {
		f.request.Names = &f.names
	}
	f.request.Via, f.request.Replaces = ca.ViaLocal, ca.Serial(f.replaces)
	return nil
}

// issue makes the certificate and writes it.
func (p *program) issue(ctx context.Context, h *house, c *ca.CA, flags caIssueFlags) error {
	var key crypto.Signer
	var err error
	if flags.csr != "" {
		if flags.request.CSR, err = p.readRequest(flags.csr); err != nil {
			return err
		}
	} else {
		if key, err = custody.Generate(custody.KeyType(flags.key)); err != nil {
			return err
		}
		if flags.request.CSR, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key); err != nil {
			return fmt.Errorf("couldn't make a request: %w", err)
		}
	}
	if flags.directory != "" { // before anything is signed
		if err := os.MkdirAll(flags.directory, 0o700); err != nil {
			return err
		}
	}
	made, err := c.Issue(ctx, h.actor, flags.request)
	if waiting, ok := errors.AsType[*ca.Waiting](err); ok {
		return problem.With(err, fmt.Sprintf(`somebody else must approve it: "tally ca requests approve %d"; then ask for the same again`, waiting.Request))
	}
	if err != nil {
		return err
	}
	if err := p.writeIssued(made, key, flags); err != nil {
		return err
	}
	p.say("certificate %s by %s until %s: %s", made.Serial, made.Authority, made.NotAfter.Format(time.RFC3339), strings.Join(made.Names.All(), " "))
	return nil
}

// readRequest reads a CSR, PEM or DER.
func (p *program) readRequest(path string) ([]byte, error) {
	const most = 64 << 10
	in := p.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close() // only read
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, most))
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", path, err)
	}
	request, err := ca.ParseCSR(data)
	if err != nil {
		return nil, err
	}
	return request.Raw, nil
}

// writeIssued writes a certificate to standard output or into a directory: the key
// first, because a certificate without it is worth nothing.
func (p *program) writeIssued(made ca.Certificate, key crypto.Signer, flags caIssueFlags) error {
	leaf, chain := pemOf(made.DER), pemOf(made.Chain...)
	if flags.directory == "" {
		if flags.json {
			return json.NewEncoder(p.out).Encode(issuedLine{made, leaf, chain})
		}
		_, err := fmt.Fprint(p.out, leaf, chain)
		return err
	}
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return fmt.Errorf("couldn't encode the key: %w", err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		defer clear(text)
		clear(der)
		if err := writeNew(filepath.Join(flags.directory, "key.pem"), text, 0o600); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"cert.pem": leaf, "chain.pem": chain, "fullchain.pem": leaf + chain} {
		if err := writeNew(filepath.Join(flags.directory, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if flags.json {
		return json.NewEncoder(p.out).Encode(issuedLine{made, leaf, chain})
	}
	return nil
}

// An issuedLine is a certificate as --json writes it.
type issuedLine struct {
	ca.Certificate
	PEM   string `json:"pem"`
	Chain string `json:"chain"`
}

// writeNew gives a file its content in one step.
func writeNew(path string, content []byte, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".tally-*")
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name()) // the error that matters is err
		return fmt.Errorf("couldn't write %s: %w", path, err)
	}
	return nil
}

func pemOf(certificates ...[]byte) string {
	var out bytes.Buffer
	for _, der := range certificates {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes everything
	}
	return out.String()
}

func (p *program) caIssued() *cobra.Command {
	var flags struct {
		listFlags
		filter ca.Filter
		key    string
	}
	cmd := &cobra.Command{
		Use: "issued [SERIAL]", Short: "List what was signed, or show one certificate",
		Long: "List what was signed, the newest first, or show one certificate.\n\n" + caStatuses(),
		Example: `  tally ca issued --name web.lab.test
  tally ca issued --state recalled --answered no`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.filter.Key = tallystick.KeyID(flags.key)
			return p.insideCA(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, c *ca.CA) error {
				if len(args) == 1 {
					return p.showIssued(ctx, h, c, ca.Serial(strings.ToLower(strings.ReplaceAll(args[0], ":", ""))), flags.json)
				}
				return p.listIssued(ctx, h, c, flags.filter, flags.listFlags)
			})
		},
	}
	flags.addTo(cmd, "")
	f := cmd.Flags()
	f.StringVar(&flags.filter.Authority, "ca", "", "by this `CA`")
	f.StringVar(&flags.filter.Name, "name", "", "for this `NAME`")
	f.StringVar(&flags.key, "key", "", "for this key: the SHA-256 of its public half, in `HEX`")
	f.StringVar(&flags.filter.Profile, "profile", "", "of this `PROFILE`")
	f.StringVar(&flags.filter.Via, "via", "", "asked for in this `WAY`: api, acme, est, ssh, spiffe, renewal, local")
	f.StringVar(&flags.filter.Requester, "requester", "", "asked for by `WHOM`")
	f.StringVar(&flags.filter.State, "state", "", "in this `STATE`: good, expired, revoked, recalled")
	f.StringVar(&flags.filter.Answered, "answered", "", "of those recalled, whether they were replaced: yes or no")
	f.DurationVar(&flags.filter.Within, "ending-within", 0, "that end within this `DURATION`")
	completeFlag(cmd, "state", func() []string { return []string{"good", "expired", "revoked", "recalled"} })
	return cmd
}

func (p *program) listIssued(ctx context.Context, h *house, c *ca.CA, f ca.Filter, flags listFlags) error {
	t := newTable(p.out, "SERIAL", "CA", "PROFILE", "VIA", "FOR", "STATE", "ENDS", "NAMES")
	encoder := json.NewEncoder(p.out)
	before, shown := ca.Serial(""), 0
	for flags.limit == 0 || shown < flags.limit {
		list, err := c.List(ctx, h.actor, f, before, pageOf(flags.limit, shown))
		if err != nil {
			return err
		}
		for _, one := range list {
			if flags.json {
				if err := encoder.Encode(one); err != nil {
					return err
				}
				continue
			}
			t.row(string(one.Serial), one.Authority, one.Profile, one.Via, one.Requester, one.State(p.now()), dayOf(one.NotAfter), strings.Join(one.Names.All(), " "))
		}
		shown += len(list)
		if len(list) == 0 {
			break
		}
		before = list[len(list)-1].Serial
	}
	if flags.json {
		return nil
	}
	if shown == 0 {
		p.say("nothing to list")
		return nil
	}
	return t.write()
}

func (p *program) showIssued(ctx context.Context, h *house, c *ca.CA, serial ca.Serial, asJSON bool) error {
	one, err := c.Look(ctx, h.actor, serial)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(p.out).Encode(issuedLine{one, pemOf(one.DER), pemOf(one.Chain...)})
	}
	fmt.Fprintf(p.out, "%s\n  names      %s\n  profile    %s, asked for by %s (%s)\n  signed by  %s, %s\n  valid      %s to %s\n  state      %s\n  key        %s\n",
		one.Serial, clean(strings.Join(one.Names.All(), " ")), one.Profile, clean(one.Requester), one.Via, one.Authority, one.Issued.Format(time.RFC3339),
		one.NotBefore.Format(time.RFC3339), one.NotAfter.Format(time.RFC3339), one.State(p.now()), one.Key)
	if one.Replaces != "" {
		fmt.Fprintf(p.out, "  replaces   %s\n", one.Replaces)
	}
	if r := one.Revocation; r != nil {
		fmt.Fprintf(p.out, "  revoked    %s by %s: %s %s\n", r.At.Format(time.RFC3339), clean(r.By), r.Reason, clean(r.Note))
	}
	_, err = fmt.Fprintf(p.out, "%s%s", pemOf(one.DER), pemOf(one.Chain...))
	return err
}
