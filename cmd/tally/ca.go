// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/problem"
)

func (p *program) caCommand() *cobra.Command {
	cmd := group("ca", "Have a CA of your own, and issue and revoke certificates")
	cmd.Long = `Have a CA of your own, and issue and revoke certificates.

Begin with "tally ca init lab": it makes a root and a CA below it. Keys are kept
encrypted; see "tally custody". What a certificate may be for is said by profiles
("tally ca profiles"), and who may have which by policies ("tally policy"). ACME, EST
and the API of "tally up" ask the same CA. docs/ca.md is the manual.`
	cmd.AddCommand(p.caInit(), p.caList(), p.caShow(), p.caCSR(), p.caInstall(), p.caProfiles(), p.caIssue(), p.caIssued(), p.caRevoke(), p.caBlock(),
		p.caRecall(), p.caRequests(), p.caRollover(), p.caCompromise(), p.caCrossSign(), p.caCRL())
	return cmd
}

func caStatuses() string {
	return exitStatuses("0 done", "1 something failed, was refused, or there is no such thing", "2 bad usage")
}

// insideCA runs fn with the CA over data that is there already.
func (p *program) insideCA(ctx context.Context, flags dataFlags, fn func(context.Context, *house, *ca.CA) error) error {
	return p.inside(ctx, flags, func(ctx context.Context, h *house) error {
		authority, err := h.openCA()
		if err != nil {
			return err
		}
		return fn(ctx, h, authority)
	})
}

type caInitFlags struct {
	dataFlags
	request                        ca.InitRequest
	root                           bool
	days                           int
	key                            string
	permitDNS, excludeDNS          []string
	permitNetworks, excludeNetwork []string
	json                           bool
}

func (p *program) caInit() *cobra.Command {
	var flags caInitFlags
	cmd := &cobra.Command{
		Use: "init NAME", Short: "Make a CA",
		Long: `Make a CA. Without further flags it makes two: NAME-root, which is what others
trust, and NAME below it, which signs. It also makes the data directory and the
wrapping key of the custody where there is none; keep a copy of that key somewhere else.

With --external somebody else's CA is above it: have the request signed that
"tally ca csr NAME" prints, and give what comes back to "tally ca install NAME".

` + caStatuses(),
		Example: `  tally ca init lab
  tally ca init lab --permit-dns lab.test --permit-network 10.0.0.0/8
  tally ca init mail --parent lab-root --key ecdsa-p384
  tally ca init users --kind ssh
  tally ca init lab --external`,
		Args: exactly(1, "the name of a CA"),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.request.Name = args[0]
			if err := flags.read(cmd.Flags().Changed("path-length")); err != nil {
				return err
			}
			return p.founded(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error { return p.initCA(ctx, h, flags) })
		},
	}
	flags.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.request.Kind, "kind", ca.KindX509, "x509, or ssh for certificates of SSH")
	f.StringVar(&flags.request.Parent, "parent", "", "below this `CA` of yours")
	f.BoolVar(&flags.request.External, "external", false, "below a CA of somebody else's, or one that is offline")
	f.BoolVar(&flags.root, "root", false, "a root alone, which signs by itself")
	f.StringVar(&flags.request.CommonName, "common-name", "", "its `NAME` in certificates (default NAME)")
	f.StringVar(&flags.request.Organization, "organization", "", "the `ORGANIZATION` in its name")
	f.StringVar(&flags.key, "key", "", "the `SORT` of its key: "+strings.Join(custody.KeyWords(), ", ")+" (default ecdsa-p256; of ssh ed25519)")
	f.IntVar(&flags.days, "days", 0, "for how many days it is valid (default 3650 for a root, 730 below one)")
	f.IntVar(flagPathLen(&flags), "path-length", 0, "how many CAs may stand below it (default 1 for a root, 0 for others)")
	f.StringSliceVar(&flags.permitDNS, "permit-dns", nil, "only names at and below these `DOMAINS`")
	f.StringSliceVar(&flags.excludeDNS, "exclude-dns", nil, "no names at and below these `DOMAINS`")
	f.StringSliceVar(&flags.permitNetworks, "permit-network", nil, "only addresses in these `NETWORKS`")
	f.StringSliceVar(&flags.excludeNetwork, "exclude-network", nil, "no addresses in these `NETWORKS`")
	f.StringVar(&flags.request.Note, "note", "", "what it is for")
	f.BoolVar(&flags.json, "json", false, "write it as a JSON object")
	completeFlag(cmd, "key", custody.KeyWords)
	return cmd
}

func flagPathLen(f *caInitFlags) *int {
	f.request.PathLen = new(int)
	return f.request.PathLen
}

// read makes the request of the flags.
func (f *caInitFlags) read(pathLen bool) error {
	if !pathLen {
		f.request.PathLen = nil
	}
	if set := map[bool]int{true: 1}; set[f.root]+set[f.request.External]+set[f.request.Parent != ""] > 1 {
		return misuse(fmt.Errorf("--root, --external and --parent exclude each other"), "a CA is signed by one")
	}
	if f.days < 0 {
		return misuse(fmt.Errorf("--days %d is less than nothing", f.days), "for example --days 365")
	}
	f.request.Lifetime = time.Duration(f.days) * 24 * time.Hour
	f.request.Key = custody.KeyType(f.key)
	f.request.PermittedDNS, f.request.ExcludedDNS = f.permitDNS, f.excludeDNS
	for _, list := range []struct {
		texts []string
		into  *[]netip.Prefix
	}{{f.permitNetworks, &f.request.PermittedIPs}, {f.excludeNetwork, &f.request.ExcludedIPs}} {
		for _, text := range list.texts {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				return misuse(fmt.Errorf("%q is no network", text), "write it as 10.0.0.0/8")
			}
			*list.into = append(*list.into, prefix)
		}
	}
	return nil
}

// initCA makes the CA, and a root above it where it needs one.
func (p *program) initCA(ctx context.Context, h *house, flags caInitFlags) error {
	authorities, err := h.openCA()
	if err != nil {
		return err
	}
	r := flags.request
	if err := ca.CheckName(r.Name); err != nil {
		return err
	}
	var made []ca.Authority
	if r.Kind == ca.KindX509 && !flags.root && !r.External && r.Parent == "" {
		root := ca.InitRequest{Name: r.Name + "-root", CommonName: rootName(r), Organization: r.Organization, Key: r.Key, Note: r.Note}
		one, err := authorities.Init(ctx, h.actor, root)
		if err != nil {
			return err
		}
		made, r.Parent = append(made, one), one.Name
	}
	one, err := authorities.Init(ctx, h.actor, r)
	if err != nil {
		return err
	}
	made = append(made, one)
	if flags.json {
		for _, one := range made {
			if err := json.NewEncoder(p.out).Encode(one); err != nil {
				return err
			}
		}
		return nil
	}
	for _, one := range made {
		p.say("the CA %s is %s: %s, %s", one.Name, one.State, one.Subject, one.Algorithm)
	}
	switch {
	case one.State == ca.Pending:
		p.say(`hint: have the request signed that "tally ca csr %s" prints`, one.Name)
	case one.Kind == ca.KindSSH:
		p.say(`hint: "tally ca show %s" prints the line for TrustedUserCAKeys and @cert-authority`, one.Name)
	default:
		root := made[0].Name
		if r.Parent != "" && len(made) == 1 {
			root = r.Parent
		}
		p.say(`hint: have others trust what "tally ca show %s" prints; "tally ca issue --help" makes a first certificate`, root)
		p.say(`hint: its certificates say that its lists are at %s/pki/, as issuing.url of the configuration says; that stays so`, one.Settings.URL)
	}
	return p.sayWrappingKey(ctx, h)
}

// sayWrappingKey reminds of the one thing that must not be lost.
func (p *program) sayWrappingKey(ctx context.Context, h *house) error {
	keys, err := custody.Keys(ctx, h.db)
	if err != nil || len(keys) != 1 || keys[0].Kept() > 2 {
		return err // they have been told
	}
	p.say("hint: keep a copy of the wrapping key somewhere else, or nothing can be signed one day: %s", keys[0].About)
	return nil
}

func rootName(r ca.InitRequest) string {
	if r.CommonName != "" {
		return r.CommonName + " Root"
	}
	return r.Name + " root"
}

func (p *program) caList() *cobra.Command {
	var flags struct {
		dataFlags
		json bool
	}
	cmd := &cobra.Command{
		Use: "list", Short: "List the CAs, and what each signed", Long: "List the CAs, and what each signed.\n\n" + caStatuses(), Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.insideCA(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, c *ca.CA) error {
				all, err := c.Overview(ctx, h.actor)
				if err != nil {
					return err
				}
				if flags.json {
					return writeLines(p.out, all)
				}
				t := newTable(p.out, "NAME", "STATE", "BELOW", "KEY", "ENDS", "VALID", "ENDING", "REVOKED", "SIGNED", "SUBJECT")
				for _, a := range all {
					below := a.Parent
					if below == "" && !a.IsRoot() && a.Kind == ca.KindX509 {
						below = "(external)"
					}
					t.row(a.Name, a.State, below, a.Algorithm, dayOf(a.NotAfter), count(a.Counts.Good), count(a.Counts.Expiring), count(a.Counts.Revoked), count(a.Counts.Total), a.Subject)
				}
				if len(all) == 0 {
					p.say(`there is no CA; make one with "tally ca init NAME"`)
					return nil
				}
				return t.write()
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func (p *program) caShow() *cobra.Command {
	var flags struct {
		dataFlags
		chain bool
	}
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Print the certificate of a CA, for those who are to trust it",
		Long: "Print the certificate of a CA as PEM, or the public key of one for SSH.\n\n" + caStatuses(), Args: exactly(1, "the name of a CA"),
		Example: "  tally ca show lab-root > /usr/local/share/ca-certificates/lab.crt && update-ca-certificates",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideCA(cmd.Context(), flags.dataFlags, func(ctx context.Context, _ *house, c *ca.CA) error {
				a, err := c.Authority(ctx, args[0])
				if err != nil {
					return err
				}
				if len(a.Certificate) == 0 {
					return problem.With(fmt.Errorf("%w: the CA %s is %s and has no certificate yet", tallystick.ErrInvalid, a.Name, a.State), `"tally ca csr `+a.Name+`" prints what is to be signed`)
				}
				text := a.PEM()
				if flags.chain {
					text += pemOf(a.Chain...)
				}
				_, err = fmt.Fprint(p.out, text)
				return err
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.chain, "chain", false, "and those above it")
	return cmd
}

func (p *program) caCSR() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "csr NAME", Short: "Print the request of a CA that waits to be signed", Long: "Print the request of a CA that waits to be signed, as PEM.\n\n" + caStatuses(), Args: exactly(1, "the name of a CA"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideCA(cmd.Context(), flags, func(ctx context.Context, _ *house, c *ca.CA) error {
				a, err := c.Authority(ctx, args[0])
				if err != nil {
					return err
				}
				if a.Settings.CSR == "" {
					return fmt.Errorf("%w: the CA %s is %s and waits for no signature", tallystick.ErrInvalid, a.Name, a.State)
				}
				_, err = fmt.Fprint(p.out, a.Settings.CSR)
				return err
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}

func (p *program) caInstall() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "install NAME FILE", Short: "Give a CA the certificate that was signed for it",
		Long: `Give a CA the certificate that somebody else's CA has signed for it. FILE is PEM: the
certificate of the CA first, then those above it up to and with the root.

` + caStatuses(),
		Args: exactly(2, "the name of a CA and a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideCA(cmd.Context(), flags, func(ctx context.Context, h *house, c *ca.CA) error {
				chain, err := os.ReadFile(args[1])
				if err != nil {
					return err
				}
				a, err := c.Install(ctx, h.actor, args[0], chain)
				if err == nil {
					p.say("the CA %s is %s until %s", a.Name, a.State, dayOf(a.NotAfter))
				}
				return err
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}

func (p *program) caProfiles() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "profiles", Short: "List what certificates may be for", Long: "List what certificates may be for, those of the configuration included.\n\n" + exitStatuses("0 done", "2 bad usage, or a configuration that cannot be used"), Args: noArguments,
		RunE: func(_ *cobra.Command, _ []string) error {
			c, err := p.load(flags)
			if err != nil {
				return err
			}
			profiles, err := profilesOf(c)
			if err != nil {
				return err
			}
			t := newTable(p.out, "PROFILE", "KIND", "LIFETIME", "AT MOST", "NAMES", "APPROVAL", "FOR")
			for _, profile := range profiles {
				t.row(profile.Name, profile.Kind, daysOf(profile.Lifetime), daysOf(profile.MaxLifetime), strings.Join(profile.Accepts, " "), map[bool]string{true: "yes"}[profile.Approval], profile.About)
			}
			return t.write()
		},
	}
	flags.addTo(cmd)
	return cmd
}

// daysOf writes a lifetime in days where it is a whole number of them.
func daysOf(d time.Duration) string {
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d d", d/(24*time.Hour))
	}
	return short(d)
}

// writeLines writes one JSON object a line.
func writeLines[T any](out io.Writer, list []T) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, one := range list {
		if err := encoder.Encode(one); err != nil {
			return err
		}
	}
	return nil
}
