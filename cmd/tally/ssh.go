// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/sshca"
)

func (p *program) sshCommand() *cobra.Command {
	cmd := group("ssh", "Sign SSH keys, and say which are not to be accepted")
	cmd.AddCommand(p.sshSign(), p.sshTrust(), p.sshKRL())
	return cmd
}

type sshSignFlags struct {
	dataFlags
	request sshca.SignRequest
	out     string
}

func (p *program) sshSign() *cobra.Command {
	var flags sshSignFlags
	cmd := &cobra.Command{
		Use: "sign KEY.pub", Short: "Make a certificate for an SSH key",
		Long: `Make a certificate for an SSH key, and write it beside the key as KEY-cert.pub, where
ssh and sshd look for it. It names the accounts that its user may become, or with
--host the names of a machine. - as KEY.pub is standard input.

` + caStatuses(),
		Example: `  tally ca init ssh --kind ssh
  tally ssh sign ~/.ssh/id_ed25519.pub --principal deploy --lifetime 8h
  tally ssh sign /etc/ssh/ssh_host_ed25519_key.pub --host --principal db1.example.com,10.0.0.7`,
		Args: exactly(1, "the file of a public key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideCA(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, c *ca.CA) error {
				return p.signSSH(ctx, h, c, args[0], flags)
			})
		},
	}
	flags.addTo(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&flags.request.Names, "principal", nil, "for these `NAMES`: accounts, or of a host its names and addresses")
	f.BoolVar(&flags.request.Host, "host", false, "for a machine, in place of a user")
	f.StringVar(&flags.request.Authority, "ca", "", "by this `CA` (default the only one that signs SSH keys)")
	f.StringVar(&flags.request.Profile, "profile", "", "for this `PURPOSE` (default ssh-user, or ssh-host)")
	f.DurationVar(&flags.request.Lifetime, "lifetime", 0, "valid for this `DURATION` (default that of the profile)")
	f.StringVar(&flags.request.SourceAddress, "source-address", "", "good only from these `ADDRESSES` or blocks")
	f.StringVar(&flags.request.ForceCommand, "force-command", "", "good only to run this `COMMAND`")
	f.StringVar(&flags.request.Extensions, "extensions", "", "with these `EXTENSIONS` of the profile only, or none")
	f.StringVar(&flags.out, "out", "", "write the certificate into this `FILE`; - is standard output")
	return cmd
}

// signSSH makes the certificate and writes it.
func (p *program) signSSH(ctx context.Context, h *house, c *ca.CA, path string, flags sshSignFlags) error {
	key, err := p.readSSHKey(path)
	if err != nil {
		return err
	}
	out := flags.out
	if out == "" {
		base, ok := strings.CutSuffix(path, ".pub")
		if !ok {
			return misuse(fmt.Errorf("%q is not the name of a .pub file", path), "say with --out where to write the certificate")
		}
		out = base + "-cert.pub"
	}
	flags.request.Key = string(key)
	signed, err := sshca.New(c, h.db, h.now).Sign(ctx, h.actor, flags.request)
	if err != nil {
		return err
	}
	if out == "-" {
		if _, err := io.WriteString(p.out, signed.Line); err != nil {
			return err
		}
	} else if err := os.WriteFile(out, []byte(signed.Line), 0o644); err != nil {
		return fmt.Errorf("certificate %s was made and couldn't be written: %w", signed.Certificate.Serial, err)
	}
	p.say("certificate %s by %s until %s: %s", signed.Certificate.Serial, signed.Certificate.Authority, signed.Certificate.NotAfter.Format(time.RFC3339),
		strings.Join(signed.Certificate.Names.Principals, " "))
	return nil
}

// readSSHKey reads a public key, and no private one.
func (p *program) readSSHKey(path string) ([]byte, error) {
	in := p.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close() // only read
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, sshca.MaxKey+1))
	if err == nil && strings.Contains(string(text), "PRIVATE KEY-----") {
		err = misuse(errors.New("that is a private key"), "give the .pub file beside it")
	}
	return text, err
}

func (p *program) sshTrust() *cobra.Command {
	var flags dataFlags
	var hosts string
	cmd := &cobra.Command{
		Use: "trust [CA]", Short: "Write the keys of SSH CAs, for those who are to trust them",
		Long: `Write the public keys of all SSH CAs that are to be trusted, or of one, as servers read
them (TrustedUserCAKeys). With --hosts they are written as clients read them
(known_hosts, ssh_known_hosts), for machines whose names match a pattern.

` + caStatuses(),
		Example: `  tally ssh trust > /etc/ssh/tally_user_ca.pub
  tally ssh trust --hosts '*.example.com' >> /etc/ssh/ssh_known_hosts`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideCA(cmd.Context(), flags, func(ctx context.Context, _ *house, c *ca.CA) error {
				lines, err := sshTrusted(ctx, c, strings.Join(args, ""))
				for _, line := range lines {
					if hosts != "" {
						line = "@cert-authority " + hosts + " " + line
					}
					if _, err := io.WriteString(p.out, line); err != nil {
						return err
					}
				}
				return err
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&hosts, "hosts", "", "for clients, who trust it for hosts that match this `PATTERN`")
	return cmd
}

// sshTrusted returns the keys of the CAs that are to be trusted, a line each.
func sshTrusted(ctx context.Context, c *ca.CA, name string) ([]string, error) {
	list, err := c.Authorities(ctx)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, a := range list {
		trusted := a.State == ca.Prepared || a.State == ca.Active || a.State == ca.Retired
		if a.Kind == ca.KindSSH && trusted && (name == "" || a.Name == name) {
			lines = append(lines, a.PEM())
		}
	}
	if len(lines) == 0 {
		return nil, problem.With(fmt.Errorf("there is no such SSH CA to trust: %w", tallystick.ErrNotFound), `"tally ca list" shows all; "tally ca init NAME --kind ssh" makes one`)
	}
	return lines, nil
}

func (p *program) sshKRL() *cobra.Command {
	var flags dataFlags
	var out string
	cmd := &cobra.Command{
		Use: "krl", Short: "Write the list of SSH certificates and keys that are not to be accepted",
		Long: `Write the key revocation list (KRL) of all SSH CAs, as sshd reads it (RevokedKeys). A
running "tally up" serves the same list at /pki/CA.krl. sshd reads the file at each
sign-in and lets nobody in when it is missing or broken: replace it, do not write over it.

` + caStatuses(),
		Example: `  tally ssh krl --out /etc/ssh/tally.krl
  ssh-keygen -Q -l -f /etc/ssh/tally.krl`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.insideCA(cmd.Context(), flags, func(ctx context.Context, h *house, c *ca.CA) error {
				list, err := sshca.New(c, h.db, h.now).List(ctx)
				if err != nil {
					return err
				}
				if err := p.writeKRL(list.Bytes, out); err != nil {
					return err
				}
				p.say("list %d with %d entries", list.Number, list.Entries)
				return nil
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&out, "out", "", "write it into this `FILE`, at once and as a whole")
	return cmd
}

// writeKRL writes the list, in place of the one before: a server must never read half of one.
func (p *program) writeKRL(list []byte, path string) error {
	if path == "" {
		_, err := p.out.Write(list)
		return err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, list, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
