// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
)

func (p *program) caRevoke() *cobra.Command {
	var flags struct {
		dataFlags
		request            ca.RevokeRequest
		key, reason, since string
		file               string
	}
	cmd := &cobra.Command{
		Use: "revoke [SERIAL...]", Short: "Revoke certificates, and publish that",
		Long: `Revoke certificates, and wait until the lists that say so are signed. The reason
key-compromise blocks the key as well: nobody gets a certificate for it again.

` + caStatuses(),
		Example: `  tally ca revoke 019a... --reason superseded
  tally ca revoke --key 5f3a... --reason key-compromise --since 2026-11-20 --descendants
  tally ca revoke --file serials.txt --reason key-compromise`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if flags.request.Reason, err = ca.ParseReason(flags.reason); err != nil {
				return misuse(err, "for example --reason superseded")
			}
			if flags.since != "" {
				if flags.request.InvalidSince, err = dayFlag("since", flags.since); err != nil {
					return err
				}
			}
			if flags.file != "" {
				more, err := p.serialsIn(flags.file)
				if err != nil {
					return err
				}
				args = append(args, more...)
			}
			for _, serial := range args {
				flags.request.Serials = append(flags.request.Serials, ca.Serial(strings.ToLower(strings.ReplaceAll(serial, ":", ""))))
			}
			flags.request.Key = tallystick.KeyID(flags.key)
			if len(flags.request.Serials) == 0 && flags.key == "" {
				return misuse(errors.New("there is nothing to revoke"), `name serials, or a key with --key: "tally ca issued" lists them`)
			}
			return p.insideCA(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, c *ca.CA) error {
				n, err := c.Revoke(ctx, h.actor, flags.request)
				if err != nil {
					return err
				}
				p.say("%s revoked", plural(n, "certificate"))
				return p.published(ctx, h)
			})
		},
	}
	flags.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.key, "key", "", "everything for this key: the SHA-256 of its public half, in `HEX`")
	f.StringVar(&flags.file, "file", "", "the serials in this `FILE`, one a line; - is standard input")
	f.StringVar(&flags.reason, "reason", "unspecified", "why: "+strings.Join(ca.ReasonWords(), ", "))
	f.StringVar(&flags.since, "since", "", "since which `DAY` the key may have been in other hands")
	f.StringVar(&flags.request.Note, "note", "", "what people should know; it is not published")
	f.BoolVar(&flags.request.Block, "block", false, "refuse their keys for ever")
	f.BoolVar(&flags.request.Descendants, "descendants", false, "and what took their place")
	completeFlag(cmd, "reason", ca.ReasonWords)
	return cmd
}

// serialsIn reads serials, one a line.
func (p *program) serialsIn(path string) ([]string, error) {
	in := p.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close() // only read
		in = file
	}
	var list []string
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" {
			list = append(list, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", path, err)
	}
	return list, nil
}

func (p *program) caBlock() *cobra.Command {
	var flags struct {
		dataFlags
		reason string
		list   bool
	}
	cmd := &cobra.Command{
		Use: "block KEY...", Short: "Refuse keys for ever, or list those that are refused",
		Long: `Refuse keys for ever: nobody gets a certificate for one, in whatever way they ask.
A KEY is the SHA-256 of the public half (SubjectPublicKeyInfo) in hexadecimal. What
was issued for it stays valid: "tally ca revoke --key" ends that as well. Keys that
the inventory knows as weak or compromised are refused without this.

` + caStatuses(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !flags.list && (len(args) == 0 || flags.reason == "") {
				return misuse(errors.New("a key or --reason is missing"), `for example: tally ca block 5f3a... --reason "stolen with host7"`)
			}
			return p.insideCA(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, c *ca.CA) error {
				if flags.list {
					return p.listBlocked(ctx, h, c)
				}
				keys := make([]tallystick.KeyID, len(args))
				for i, key := range args {
					keys[i] = tallystick.KeyID(strings.ToLower(strings.ReplaceAll(key, ":", "")))
				}
				n, err := c.Block(ctx, h.actor, keys, flags.reason)
				if err == nil {
					p.say("%s blocked", plural(int(n), "key"))
				}
				return err
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&flags.reason, "reason", "", "why; whoever asks with such a key reads it")
	cmd.Flags().BoolVar(&flags.list, "list", false, "list those that are refused, the newest first")
	return cmd
}

func (p *program) listBlocked(ctx context.Context, h *house, c *ca.CA) error {
	keys, err := c.BlockedKeys(ctx, h.actor, 1000)
	if err != nil {
		return err
	}
	t := newTable(p.out, "KEY", "SINCE", "BY", "WHY")
	for _, k := range keys {
		t.row(string(k.SPKI), dayOf(k.At), k.By, k.Reason)
	}
	return t.write()
}

func (p *program) caRecall() *cobra.Command {
	var flags struct {
		dataFlags
		authority, url, file string
	}
	cmd := &cobra.Command{
		Use: "recall [SERIAL...]", Short: "Tell the clients of certificates to renew now",
		Long: `Tell the clients of certificates to renew now: ACME clients that look at renewal
windows (RFC 9773) do it at their next look, within minutes. Nothing is revoked;
"tally ca issued --state recalled --answered no" lists who has not answered.

` + caStatuses(),
		Example: `  tally ca recall --ca lab --url https://status.example.com/incident-7
  tally ca recall 019a... 019b...`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.file != "" {
				more, err := p.serialsIn(flags.file)
				if err != nil {
					return err
				}
				args = append(args, more...)
			}
			if (len(args) == 0) == (flags.authority == "") {
				return misuse(errors.New("name either serials or a CA"), "for example: tally ca recall --ca lab")
			}
			return p.insideCA(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, c *ca.CA) error {
				var n int64
				var err error
				if flags.authority != "" {
					n, err = c.RecallAuthority(ctx, h.actor, flags.authority, flags.url)
				} else {
					serials := make([]ca.Serial, len(args))
					for i, serial := range args {
						serials[i] = ca.Serial(serial)
					}
					n, err = c.Recall(ctx, h.actor, serials, flags.url)
				}
				if err == nil {
					p.say("%s to be renewed now", plural(int(n), "certificate"))
				}
				return err
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&flags.authority, "ca", "", "everything that this `CA` signed")
	cmd.Flags().StringVar(&flags.file, "file", "", "the serials in this `FILE`, one a line; - is standard input")
	cmd.Flags().StringVar(&flags.url, "url", "", "where people read why")
	return cmd
}

func (p *program) caRequests() *cobra.Command {
	cmd := group("requests", "See, approve and refuse what was asked for")
	var list struct {
		listFlags
		state string
	}
	show := &cobra.Command{
		Use: "list", Short: "List what waits for approval or was refused, the newest first", Long: "List what waits for approval or was refused, the newest first.\n\n" + caStatuses(), Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.insideCA(cmd.Context(), list.dataFlags, func(ctx context.Context, h *house, c *ca.CA) error {
				requests, err := c.Requests(ctx, h.actor, list.state, 0, list.limit)
				if err != nil {
					return err
				}
				if list.json {
					return writeLines(p.out, requests)
				}
				t := newTable(p.out, "ID", "STATE", "CA", "PROFILE", "FOR", "ASKED", "DECIDED BY", "NAMES", "WHY")
				for _, r := range requests {
					t.row(strconv.FormatInt(r.ID, 10), r.State, r.Authority, r.Profile, r.Requester, r.At.Format(time.RFC3339), r.DecidedBy, strings.Join(r.Names, " "), r.Why)
				}
				if len(requests) == 0 {
					p.say("nothing to list")
					return nil
				}
				return t.write()
			})
		},
	}
	list.addTo(show, "")
	show.Flags().StringVar(&list.state, "state", "", "in this `STATE`: waiting, issued, refused, failed")
	cmd.AddCommand(show, p.caDecide("approve ID", "Have a request fulfilled", func(ctx context.Context, h *house, c *ca.CA, id int64, _ string) error {
		made, err := c.Approve(ctx, h.actor, id)
		if err == nil {
			p.say("certificate %s is issued; whoever asked gets it by asking again", made.Serial)
		}
		return err
	}), p.caDecide("refuse ID", "Refuse a request", func(ctx context.Context, h *house, c *ca.CA, id int64, why string) error {
		return c.RefuseRequest(ctx, h.actor, id, why)
	}))
	return cmd
}

func (p *program) caDecide(use, short string, act func(context.Context, *house, *ca.CA, int64, string) error) *cobra.Command {
	var flags struct {
		dataFlags
		why string
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Long: short + ". Whoever asked cannot approve.\n\n" + caStatuses(), Args: exactly(1, "the number of a request"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return misuse(fmt.Errorf("%q is no number of a request", args[0]), `"tally ca requests list" shows them`)
			}
			return p.insideCA(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, c *ca.CA) error { return act(ctx, h, c, id, flags.why) })
		},
	}
	flags.addTo(cmd)
	if strings.HasPrefix(use, "refuse") {
		cmd.Flags().StringVar(&flags.why, "reason", "", "why; whoever asked reads it")
	}
	return cmd
}
