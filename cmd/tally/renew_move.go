// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/renewal"
)

func (p *program) renewCalendar() *cobra.Command {
	var flags struct {
		dataFlags
		days     int
		by       string
		lifetime time.Duration
		json     bool
	}
	cmd := &cobra.Command{
		Use: "calendar", Short: "Say how much will be renewed when, a year ahead",
		Long: `Say how much will be renewed when, from today on. With --lifetime it is what would
be if no certificate that is issued from now on were good for longer.

` + renewStatuses(),
		Example: "  tally renew calendar\n  tally renew calendar --lifetime 1128h --by month    # 47 days",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"day", "week", "month"}, flags.by) {
				return misuse(fmt.Errorf("--by %q is no part of a year", flags.by), "it is one of day, week, month")
			}
			return p.insideRenewals(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, engine *renewal.Engine) error {
				from := p.now().UTC().Truncate(24 * time.Hour)
				c, err := engine.Calendar(ctx, h.actor, from, from.AddDate(0, 0, flags.days), flags.lifetime)
				if err != nil {
					return err
				}
				if flags.json {
					return json.NewEncoder(p.out).Encode(c)
				}
				return p.drawCalendar(c, flags.by)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().IntVar(&flags.days, "days", 365, "look this `NUMBER` of days ahead")
	cmd.Flags().StringVar(&flags.by, "by", "week", "a line for each `PART`: day, week, month")
	cmd.Flags().DurationVar(&flags.lifetime, "lifetime", 0, "as if no certificate were good for longer than this `DURATION`")
	cmd.Flags().BoolVar(&flags.json, "json", false, "write it as a JSON object, by day and issuer")
	completeFlag(cmd, "by", func() []string { return []string{"day", "week", "month"} })
	return cmd
}

// barWidth is how wide the longest bar of a chart is, in characters.
const barWidth = 50

// drawCalendar draws a bar for each part of the time.
func (p *program) drawCalendar(c renewal.Calendar, by string) error {
	type part struct {
		name string
		n    int64
	}
	var parts []part
	var most int64
	for i, d := range c.Days {
		date := c.From.AddDate(0, 0, i)
		name := date.Format(time.DateOnly)
		begins := by == "day" || by == "week" && i%7 == 0 || by == "month" && (i == 0 || date.Day() == 1)
		if by == "month" {
			name = date.Format("2006-01")
		}
		if begins {
			parts = append(parts, part{name: name})
		}
		last := &parts[len(parts)-1]
		last.n += d.Renewals
		most = max(most, last.n)
	}
	for _, one := range parts {
		bar := ""
		if one.n > 0 {
			bar = strings.Repeat("█", max(int(one.n*barWidth/most), 1))
		}
		if _, err := fmt.Fprintln(p.out, strings.TrimRight(fmt.Sprintf("%-10s %7d  %s", one.name, one.n, bar), " ")); err != nil {
			return err
		}
	}
	p.say("%s in %s", plural(int(c.Total), "renewal"), plural(len(c.Days), "day"))
	if c.Peak > 0 {
		p.say("the fullest day is %s with %d", dayOf(c.PeakDay), c.Peak)
	}
	return nil
}

func (p *program) renewMove() *cobra.Command {
	cmd := group("move", "Move certificates to another issuer, in waves")
	cmd.Long = `Move certificates to another issuer, in waves: one goes first, then a tenth, then
all others, each when all before it have their new certificates in their places. What
fails goes back to the issuer that it had, and the move stops after that wave.`
	act := func(verb, short, done string, do func(*renewal.Engine) func(context.Context, gate.Actor, int64) error) *cobra.Command {
		return p.moveTurn(verb, short, done, do)
	}
	cmd.AddCommand(p.moveBegin(), p.moveList(),
		act("stop", "Stop a move; what was on its way goes back", "stopped", func(e *renewal.Engine) func(context.Context, gate.Actor, int64) error { return e.StopMove }),
		act("retry", "Let a move that has stopped go on with what failed", "goes on", func(e *renewal.Engine) func(context.Context, gate.Actor, int64) error { return e.RetryMove }))
	return cmd
}

func (p *program) moveBegin() *cobra.Command {
	var flags struct {
		dataFlags
		request renewal.MoveRequest
		dry     bool
		json    bool
	}
	cmd := &cobra.Command{
		Use: "begin ISSUER", Short: "Begin a move, or try what it would do",
		Long: `Begin a move to an issuer. The flags pick what moves; in patterns, * stands for
anything and ? for one letter. With --dry-run nothing happens: it lists what would be
asked for, in which wave, and what the policies of a CA of your own would refuse. What
the CAs of other people refuse is known when they are asked.

` + renewStatuses(),
		Example: `  tally renew move begin ca/lab --from letsencrypt --names '*.corp.example.com' --dry-run
  tally renew move begin ca/lab --from letsencrypt --map-name '*.old.example.com=*.example.com' --map-profile short=server`,
		Args: exactly(1, "the issuer to move to"),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.request.To = args[0]
			return p.insideRenewals(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, engine *renewal.Engine) error {
				begin := engine.Move
				if flags.dry {
					begin = engine.TryMove
				}
				m, err := begin(ctx, h.actor, flags.request)
				if err != nil {
					return unknown(err, `run "tally issuers" to see them`)
				}
				if flags.json {
					return json.NewEncoder(p.out).Encode(m)
				}
				if err := p.showItems(m.Items); err != nil {
					return err
				}
				if flags.dry {
					p.say("nothing was begun; %s", countsOf(m))
					return nil
				}
				p.say("move %d has begun, in %s", m.ID, plural(int(m.Waves), "wave"))
				p.sayIdle(h)
				return nil
			})
		},
	}
	flags.addTo(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&flags.request.Issuers, "from", nil, "only those of these `ISSUERS`")
	f.StringSliceVar(&flags.request.Renewals, "renewals", nil, "only those that are called like these `PATTERNS`")
	f.StringSliceVar(&flags.request.Names, "names", nil, "only those for a name like these `PATTERNS`")
	f.StringSliceVar(&flags.request.Profiles, "profiles", nil, "only those of these `PROFILES`")
	f.StringToStringVar(&flags.request.ProfilesThere, "map-profile", nil, "profiles that are called otherwise there, as `OLD=NEW`")
	f.StringToStringVar(&flags.request.NamesThere, "map-name", nil, "names that become others, as `OLD=NEW`, or '*.OLD=*.NEW'; OLD= leaves one out")
	f.IntSliceVar(&flags.request.Waves, "waves", nil, "how many `PERCENT` go first, growing, such as 1,10,50 (default one alone, then 10 percent)")
	f.BoolVar(&flags.request.Skip, "skip", false, "leave out what would be refused")
	f.BoolVar(&flags.dry, "dry-run", false, "say what would happen, and begin nothing")
	f.BoolVar(&flags.json, "json", false, "write it as a JSON object")
	return cmd
}

// showItems lists what moves.
func (p *program) showItems(items []renewal.Item) error {
	return showAll(p, false, items, []string{"WAVE", "RENEWAL", "FROM", "PROFILE", "NAMES", "STATE", "ERROR"}, func(i renewal.Item) []string {
		wave := fmt.Sprint(i.Wave)
		if i.Wave == 0 {
			wave = ""
		}
		return []string{wave, i.Renewal, i.Before.Issuer, i.After.Profile, strings.Join(i.After.Names, ", "), i.State, i.Error}
	})
}

// countsOf writes how many items of a move are in which state.
func countsOf(m renewal.Move) string {
	var words []string
	for _, state := range []string{"done", "running", "waiting", "failed", "refused"} {
		if n := m.Counts[state]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, state))
		}
	}
	return strings.Join(words, ", ")
}

func (p *program) moveList() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "list [MOVE]", Short: "List moves, or what is on its way with one",
		Long: "List moves, the newest first, or what is on its way with one.\n\n" + renewStatuses(),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return exactly(1, "the number of a move, or none")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideRenewals(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, engine *renewal.Engine) error {
				if len(args) == 1 {
					return p.showMove(ctx, h, engine, args[0], flags.json)
				}
				list, err := engine.Moves(ctx, h.actor, 100)
				if err != nil {
					return err
				}
				return showAll(p, flags.json, list, []string{"MOVE", "TO", "BEGAN", "BY", "WAVE", "STATE", "ITEMS", "ERROR"}, func(m renewal.Move) []string {
					return []string{fmt.Sprint(m.ID), m.To, dayOf(m.Created), m.CreatedBy, fmt.Sprintf("%d of %d", m.Wave, m.Waves), m.State, countsOf(m), m.Error}
				})
			})
		},
	}
	flags.dataFlags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

func (p *program) showMove(ctx context.Context, h *house, engine *renewal.Engine, number string, asJSON bool) error {
	id, err := numberOf(number, "move", "tally renew move list")
	if err != nil {
		return err
	}
	m, err := engine.MoveStatus(ctx, h.actor, id)
	if err != nil {
		return unknown(err, `run "tally renew move list" to see them`)
	}
	if asJSON {
		return json.NewEncoder(p.out).Encode(m)
	}
	if err := p.showItems(m.Items); err != nil {
		return err
	}
	p.say("move %d to %s is %s, in wave %d of %d: %s", m.ID, m.To, m.State, m.Wave, m.Waves, countsOf(m))
	return nil
}

// moveTurn is a command that changes the state of a move.
func (p *program) moveTurn(verb, short, done string, do func(*renewal.Engine) func(context.Context, gate.Actor, int64) error) *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: verb + " MOVE", Short: short, Long: short + ".\n\n" + renewStatuses(), Example: "  tally renew move " + verb + " 17", Args: exactly(1, "the number of a move"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := numberOf(args[0], "move", "tally renew move list")
			if err != nil {
				return err
			}
			return p.insideRenewals(cmd.Context(), flags, func(ctx context.Context, h *house, engine *renewal.Engine) error {
				if err := do(engine)(ctx, h.actor, id); err != nil {
					return unknown(err, `run "tally renew move list" to see them`)
				}
				fmt.Fprintf(p.out, "move %d: %s\n", id, done)
				return nil
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}
