// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/revocation"
	"github.com/tallystick/tallystick/internal/revocation/pull"
)

func (p *program) crlCommand() *cobra.Command {
	cmd := group("crl", "Bring lists of revoked certificates to servers that read files")
	cmd.AddCommand(p.crlPull(), p.crlShow())
	return cmd
}

// crlPullFlags are the flags of "tally crl pull".
type crlPullFlags struct {
	urls, merge        []string
	ca, out, dir, then string
	der                bool
	every              time.Duration
}

func (p *program) crlPull() *cobra.Command {
	var flags crlPullFlags
	cmd := &cobra.Command{
		Use:   "pull --url URL... --ca FILE --out FILE",
		Short: "Fetch lists of revoked certificates into a file for a server",
		Long: `Fetch lists of revoked certificates into a file for a server, and have it read
them. A list is taken when one of the CAs of --ca has signed it, it is complete and
valid now, and it is not older than the one that is there. The file is replaced as a
whole, with its mode and owner, when something is new; when anything fails it stays.

nginx and other servers with OpenSSL refuse every client unless there is a list of
each CA of the chain: name them all with --url, or with --merge where a CA is offline.
docs/revocation.md says what each server reads, and what it takes notice of when.

The command of --on-change is run by the shell, and again at the next pull until it
has succeeded. With --every the lists are fetched until the program is stopped;
what goes wrong is then said on standard error, and tried again.

` + exitStatuses("0 the file is up to date", "1 something failed; the file stays as it was", "2 bad usage, or the CAs cannot be read"),
		Example: `  tally crl pull --url http://pki.example.com/pki/lab.crl --ca /etc/nginx/clients-ca.pem \
      --out /etc/nginx/clients-crl.pem --every 1h --on-change 'systemctl reload nginx'
  tally crl pull --url http://pki.example.com/pki/lab.crl --ca ca.pem --dir /etc/postgresql/crl`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.pullLists(cmd.Context(), flags) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&flags.urls, "url", nil, "fetch the complete list at this `URL`; may be repeated")
	f.StringArrayVar(&flags.merge, "merge", nil, "add the lists of this `FILE`, such as that of a root that is offline; may be repeated")
	f.StringVar(&flags.ca, "ca", "", "the `FILE` of the CAs that the server trusts, PEM")
	f.StringVar(&flags.out, "out", "", "write all lists to this `FILE`, PEM")
	f.StringVar(&flags.dir, "dir", "", "write each list into this `DIR` under the name by which OpenSSL finds it (HASH.r0)")
	f.BoolVar(&flags.der, "der", false, "write DER; there can be one list only")
	f.DurationVar(&flags.every, "every", 0, "do it again after this `TIME`, such as 1h")
	f.StringVar(&flags.then, "on-change", "", "run this `COMMAND` when something is new")
	return cmd
}

// check finds mistakes in the flags.
func (f crlPullFlags) check() error {
	switch {
	case len(f.urls) == 0:
		return misuse(errors.New("no list is named"), "write --url and where the CA publishes its list")
	case f.ca == "":
		return misuse(errors.New("no CA is named, and so nothing could be verified"), "write --ca and the file of the CAs that the server trusts")
	case (f.out == "") == (f.dir == ""):
		return misuse(errors.New("it needs one of --out and --dir"), "write --out FILE, or --dir DIR for servers that look lists up by their issuer")
	case f.der && f.dir != "":
		return misuse(errors.New("OpenSSL reads PEM from a directory"), "leave out --der")
	case f.every != 0 && f.every < time.Second:
		return misuse(fmt.Errorf("--every %s is too often", f.every), "write a time such as 1h")
	}
	return nil
}

func (p *program) pullLists(ctx context.Context, flags crlPullFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	cas, err := readCAs(flags.ca)
	if err != nil {
		return err
	}
	config := pull.Config{URLs: flags.urls, Files: flags.merge, CAs: cas, Out: flags.out, Dir: flags.dir, DER: flags.der, Now: p.now}
	if flags.then != "" {
		config.Changed = func(ctx context.Context) error { return p.onChange(ctx, flags.then) }
	}
	puller := pull.New(config)
	for {
		err := p.pullOnce(ctx, puller)
		if flags.every == 0 || ctx.Err() != nil {
			return err
		}
		if err != nil {
			p.report(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(flags.every):
		}
	}
}

// pullOnce brings the lists, and tells of what a person should know.
func (p *program) pullOnce(ctx context.Context, puller *pull.Puller) error {
	r, err := puller.Pull(ctx)
	if err != nil {
		if ends, ok := puller.Ends(); ok {
			tense := "is valid until"
			if !p.now().Before(ends) {
				tense = "has ended at"
			}
			p.say("what the server has %s %s", tense, ends.Format(time.RFC3339))
		}
		return &statusError{err: err, status: problem.ExitFailed, hint: problem.Of(err).Hint}
	}
	for _, got := range r.Lists {
		n, err := got.List.Count()
		if err != nil {
			return err
		}
		fmt.Fprintf(p.out, "%s: %d revoked by %s, number %s, valid until %s\n", clean(got.Path), n, clean(got.CA.Subject.String()),
			listNumber(got.List), got.List.NextUpdate.Format(time.RFC3339))
	}
	if !r.Changed {
		fmt.Fprintln(p.out, "nothing is new")
	}
	if len(r.Without) == 0 {
		return nil
	}
	for _, one := range r.Without {
		p.say("there is no list of %s: nginx and other servers with OpenSSL then refuse every client below it", clean(one.Subject.String()))
	}
	err = fmt.Errorf("%w: a list is missing; those that there are have been written", tallystick.ErrNotFound)
	return &statusError{err: err, status: problem.ExitFailed, hint: "give its URL with --url, or its file with --merge"}
}

func listNumber(l *revocation.List) string {
	if l.Number == nil {
		return "none"
	}
	return l.Number.String()
}

// onChange runs a command of the operator.
func (p *program) onChange(ctx context.Context, command string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdout, cmd.Stderr = p.err, p.err
	if err := cmd.Run(); err != nil {
		return problem.With(fmt.Errorf("the command %q failed: %w", command, err), "the file is new and the server may not have read it; the next pull runs the command again")
	}
	return nil
}

// readCAs reads certificates in PEM.
func readCAs(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the CAs: %w", err)
	}
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("couldn't read %s: %w: %w", path, tallystick.ErrInvalid, err)
		}
		all = append(all, c)
	}
	if all == nil {
		return nil, fmt.Errorf("couldn't read %s: %w: there is no certificate in PEM in it", path, tallystick.ErrInvalid)
	}
	return all, nil
}

func (p *program) crlShow() *cobra.Command {
	var cas, serial string
	cmd := &cobra.Command{
		Use: "show FILE", Short: "Show what a list of revoked certificates says",
		Long: `Show what a list of revoked certificates says: whose it is, from when to when it is
valid, and how many entries it has. A file in PEM may hold several lists.

` + exitStatuses("0 done", "1 something failed, or a list has ended or is not signed by a CA of --ca", "2 bad usage, or the file cannot be read",
			"3 the serial number of --serial is on a list"),
		Example: `  tally crl show /etc/nginx/clients-crl.pem --ca /etc/nginx/clients-ca.pem
  tally crl show lab.crl --serial 0192f3c1a04b5d6e7f8091a2b3c4d5e6`,
		Args: exactly(1, "the name of a file"),
		RunE: func(_ *cobra.Command, args []string) error { return p.showLists(args[0], cas, serial) },
	}
	cmd.Flags().StringVar(&cas, "ca", "", "verify the signatures with the CAs of this `FILE`, PEM")
	cmd.Flags().StringVar(&serial, "serial", "", "say whether this serial number is on it, in `HEX`")
	return cmd
}

func (p *program) showLists(path, caFile, serial string) error {
	wanted, err := serialContents(serial)
	if err != nil {
		return err
	}
	lists, err := pull.ReadFile(path)
	if err != nil {
		return err
	}
	var cas []*x509.Certificate
	if caFile != "" {
		if cas, err = readCAs(caFile); err != nil {
			return err
		}
	}
	var wrong error
	found := false
	for _, l := range lists {
		on, err := p.showList(l, cas, wanted)
		if err != nil && wrong == nil {
			wrong = fmt.Errorf("%s: %w", path, err)
		}
		found = found || on
	}
	switch {
	case wrong != nil:
		return &statusError{err: wrong, status: problem.ExitFailed, hint: "fetch it again with \"tally crl pull\""}
	case found:
		return &statusError{err: fmt.Errorf("%s is revoked", clean(serial)), status: problem.ExitFindings}
	}
	return nil
}

// showList shows a list; it says whether a serial number is on it, and what is wrong with it.
func (p *program) showList(l *revocation.List, cas []*x509.Certificate, wanted []byte) (bool, error) {
	n, err := l.Count()
	if err != nil {
		return false, err
	}
	s := &sheet{out: p.out}
	s.put("issuer", issuerName(l))
	s.put("number", listNumber(l))
	s.put("from", l.ThisUpdate.Format(time.RFC3339))
	s.put("until", l.NextUpdate.Format(time.RFC3339))
	s.put("entries", fmt.Sprint(n))
	s.put("size", fmt.Sprintf("%d octets", len(l.DER)))
	s.put("part", l.Part)
	found := false
	if wanted != nil {
		err = l.Each(func(e revocation.Entry) error {
			if !bytes.Equal(e.Serial, wanted) {
				return nil
			}
			found = true
			s.put("revoked", e.At.Format(time.RFC3339)+", reason "+ca.Reason(e.Reason).String())
			return revocation.ErrStop
		})
	}
	if err == nil && !l.NextUpdate.IsZero() && !p.now().Before(l.NextUpdate) {
		err = fmt.Errorf("the list has ended at %s", l.NextUpdate.Format(time.RFC3339))
	}
	if err == nil && cas != nil {
		err = signedByOne(l, cas)
	}
	return found, errors.Join(err, s.err)
}

func signedByOne(l *revocation.List, cas []*x509.Certificate) error {
	for _, one := range cas {
		if l.Verify(one) == nil {
			return nil
		}
	}
	return errors.New("the list is not signed by a CA of --ca")
}

// issuerName writes the name of a list's issuer.
func issuerName(l *revocation.List) string {
	name, err := l.IssuerName()
	if err != nil {
		return "a name that cannot be read"
	}
	return name
}

// serialContents reads a serial number as an INTEGER has it; nil for "".
func serialContents(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	digits := strings.TrimPrefix(strings.ReplaceAll(strings.ToLower(text), ":", ""), "0x")
	if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) > 32 {
		return nil, misuse(fmt.Errorf("%q is no serial number", text), "write it in hexadecimal digits")
	}
	b = bytes.TrimLeft(b, "\x00")
	if len(b) == 0 || b[0] >= 0x80 {
		b = append([]byte{0}, b...)
	}
	return b, nil
}
