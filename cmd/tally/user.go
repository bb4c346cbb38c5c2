// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/access"
	"github.com/tallystick/tallystick/internal/gate"
)

// accessStatuses is the end of the help of commands that manage access.
func accessStatuses() string {
	return exitStatuses("0 done", "1 something failed, or there is no inventory", "2 bad usage")
}

func (p *program) userCommand() *cobra.Command {
	cmd := group("user", "Manage who may sign in")
	cmd.AddCommand(p.userLink(), p.userList(), p.userDisable())
	return cmd
}

func (p *program) userLink() *cobra.Command {
	var flags dataFlags
	var role string
	var change bool
	cmd := &cobra.Command{
		Use: "link NAME", Short: "Make a link with which somebody signs in once",
		Long: fmt.Sprintf(`Make a link with which somebody signs in, once, within %.0f minutes. Somebody new is
made known, as viewer unless --role says otherwise; somebody known keeps their role
and is let in again if they were kept out. To give them another role, add
--change-role. The last administrator cannot be made anything else.

  viewer    sees everything but the audit log and who may sign in
  operator  also starts looks, annotates, accepts and assigns
  admin     also manages access and reads the audit log

`, access.LinkLife.Minutes()) + accessStatuses(),
		Example: "  tally user link maria --role operator\n  tally user link maria --role viewer --change-role",
		Args:    exactly(1, "the name of somebody"),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := access.KeepRole
			if role != "" {
				var err error
				if given, err = gate.ParseRole(role); err != nil {
					return misuse(err, "for example --role viewer")
				}
			}
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				said, err := roleChange(ctx, h, args[0], given, change)
				if err != nil {
					return err
				}
				secret, err := h.access.CreateLink(ctx, h.actor, args[0], given)
				if err != nil {
					return err
				}
				p.say("%s", said)
				_, err = fmt.Fprintf(p.out, "%s/sign-in/%s\n", baseURL(h), secret)
				return err
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&role, "role", "", "viewer, operator or admin (default what they are; viewer for somebody new)")
	cmd.Flags().BoolVar(&change, "change-role", false, "let --role change what somebody known is")
	completeFlag(cmd, "role", roleWords)
	return cmd
}

// roleWords are the roles that people have.
func roleWords() []string {
	return []string{gate.Viewer.String(), gate.Operator.String(), gate.Admin.String()}
}

// roleChange says what a link makes of somebody, and refuses to change the role
// of somebody known in passing.
func roleChange(ctx context.Context, h *house, name string, given gate.Role, change bool) (string, error) {
	people, err := h.access.ListPeople(ctx, h.actor)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(people, func(u access.Person) bool { return u.Name == name })
	if at < 0 {
		if given == access.KeepRole {
			given = gate.Viewer
		}
		return fmt.Sprintf("%s is new, as %s", name, given), nil
	}
	is := people[at].Role
	back := ""
	if !people[at].Disabled.IsZero() {
		back = ", and is let in again"
	}
	switch {
	case given == access.KeepRole || given == is:
		return fmt.Sprintf("%s is %s, as before%s", name, is, back), nil
	case !change:
		return "", misuse(fmt.Errorf("%s is %s, not %s", name, is, given), "leave --role out for a link as they are, or add --change-role")
	}
	return fmt.Sprintf("%s was %s and is %s from now on%s", name, is, given, back), nil
}

// baseURL returns where the pages are: what a running server says, or what the
// configuration says.
func baseURL(h *house) string {
	if _, url, err := readLock(h.config.Data); err == nil && url != "" {
		return url
	}
	return "https://" + h.config.Listen
}

func (p *program) userList() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List who may sign in", Long: "List who may sign in.\n\n" + accessStatuses(), Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error {
				people, err := h.access.ListPeople(ctx, h.actor)
				if err != nil {
					return err
				}
				return showAll(p, flags.json, people, []string{"NAME", "ROLE", "SINCE", "SIGNED IN", "STATE"}, personCells)
			})
		},
	}
	flags.dataFlags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

func personCells(u access.Person) []string {
	state := "active"
	if !u.Disabled.IsZero() {
		state = "disabled since " + dayOf(u.Disabled)
	}
	return []string{u.Name, u.Role.String(), dayOf(u.Created), dayOf(u.SignedIn), state}
}

func (p *program) userDisable() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "disable NAME", Short: "Keep somebody out",
		Long: "Keep somebody out: their sessions and links end at once. API tokens stay; see\n\"tally token\". The last administrator cannot be kept out.\n\n" + accessStatuses(),
		Args: exactly(1, "the name of somebody"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				if err := h.access.Disable(ctx, h.actor, args[0]); err != nil {
					return unknown(err, `run "tally user list" to see who may sign in`)
				}
				p.say("%s can no longer sign in", args[0])
				return nil
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}

func (p *program) tokenCommand() *cobra.Command {
	cmd := group("token", "Manage API tokens")
	cmd.AddCommand(p.tokenCreate(), p.tokenList(), p.tokenRevoke())
	return cmd
}

func (p *program) tokenCreate() *cobra.Command {
	var flags dataFlags
	var role string
	var days int
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make an API token, and write it to standard output",
		Long:    "Make an API token, and write it to standard output. It cannot be had again.\n\n" + accessStatuses(),
		Example: "  tally token create dashboards --role viewer --days 90",
		Args:    exactly(1, "a name that says what the token is for"),
		RunE: func(cmd *cobra.Command, args []string) error {
			given, err := gate.ParseRole(role)
			if err != nil {
				return misuse(err, "for example --role viewer")
			}
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				secret, token, err := h.access.CreateToken(ctx, h.actor, args[0], given, time.Duration(days)*24*time.Hour)
				if err != nil {
					return err
				}
				fmt.Fprintf(p.err, "token %d, %s, good until %s\n", token.ID, token.Role, dayOf(token.Expires))
				_, err = fmt.Fprintln(p.out, secret)
				return err
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&role, "role", "viewer", "client, viewer, operator or admin; a client asks for certificates and reads nothing")
	cmd.Flags().IntVar(&days, "days", 90, "how long it is good, at most 366")
	completeFlag(cmd, "role", func() []string { return append([]string{gate.Client.String()}, roleWords()...) })
	return cmd
}

func (p *program) tokenList() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List API tokens, without their secrets", Long: "List API tokens, without their secrets.\n\n" + accessStatuses(), Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error {
				tokens, err := h.access.ListTokens(ctx, h.actor)
				if err != nil {
					return err
				}
				return showAll(p, flags.json, tokens, []string{"ID", "NAME", "ROLE", "BY", "UNTIL", "LAST USED", "STATE"}, p.tokenCells)
			})
		},
	}
	flags.dataFlags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

func (p *program) tokenCells(t access.Token) []string {
	state := "good"
	switch {
	case !t.Revoked.IsZero():
		state = "revoked on " + dayOf(t.Revoked)
	case !p.now().Before(t.Expires):
		state = "expired"
	}
	return []string{fmt.Sprint(t.ID), t.Name, t.Role.String(), t.CreatedBy, dayOf(t.Expires), dayOf(t.LastUsed), state}
}

func (p *program) tokenRevoke() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "Make an API token useless",
		Long: "Make an API token useless, at once and for good.\n\n" + accessStatuses(),
		Args: exactly(1, "the number of a token"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := numberOf(args[0], "token", "tally token list")
			if err != nil {
				return err
			}
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				if err := h.access.RevokeToken(ctx, h.actor, id); err != nil {
					return unknown(err, `run "tally token list" to see them`)
				}
				p.say("token %d no longer works", id)
				return nil
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}
