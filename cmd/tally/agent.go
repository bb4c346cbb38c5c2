// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/agent"
	"github.com/tallystick/tallystick/internal/doors"
)

// agentsOf are the agents of a house. There is one for a process: it holds their CA.
func (p *program) agentsOf(h *house) *agent.Agents {
	keys := doors.CustodyKeys{Custody: lateKeys{h}, Names: h.db}
	return &agent.Agents{DB: h.db, Gate: h.gate, Authority: &agent.Authority{Keys: keys, Now: h.now}, Now: h.now}
}

// openAgents opens the port of agents: it shows the certificate of their CA, and asks for
// theirs without demanding it, because who enrols has none.
func (i *issuance) openAgents(ctx context.Context, h *house, agents *agent.Agents, steps agent.Steps, log *slog.Logger) error {
	server := &agent.Server{Agents: agents, Steps: steps, Failed: func(r *http.Request, err error) {
		log.Error("a request of an agent failed", "path", r.URL.Path, "error", err)
	}}
	return i.open(ctx, "agents.listen", h.config.Agents.Listen, port{name: "agents", handler: server, tls: &tls.Config{
		MinVersion: tls.VersionTLS13, GetCertificate: agents.Authority.Certificate, ClientAuth: tls.RequestClientCert,
	}})
}

func (p *program) agentCommand() *cobra.Command {
	cmd := group("agent", "Let programs on other machines work at doors there")
	cmd.Long = `Let programs on other machines work at doors there. An agent asks the server for
work, and makes keys where they are used. Which doors it has, and what is run there,
stands in its own configuration. docs/agent.md is the manual.`
	cmd.AddCommand(p.agentAdd(), p.agentList(), p.agentRemove(), p.agentRun())
	return cmd
}

func agentStatuses() string {
	return exitStatuses("0 done", "1 something failed, or there is no such agent or inventory", "2 bad usage")
}

func (p *program) agentAdd() *cobra.Command {
	var flags dataFlags
	var address string
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Let an agent enrol, and write its token to standard output",
		Long: `Let an agent enrol, and write its token to standard output. The token is good once
and for an hour, and cannot be had again. It says where the server is and by which
key it is known. An agent of that name that is there goes on until the token is used;
then the certificate that it had is refused.

` + agentStatuses(),
		Example: "  tally agent add web1 --config tally.yaml | ssh web1 'umask 077; cat >/etc/tallystick/agent.token'",
		Args:    exactly(1, "a name for the agent"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				where, err := agentAddress(h, address)
				if err != nil {
					return err
				}
				token, expires, err := p.agentsOf(h).Add(ctx, h.actor, args[0], where)
				if err != nil {
					return err
				}
				p.say("the agent %s can enrol at %s until %s", args[0], where, expires.Local().Format("15:04:05"))
				_, err = fmt.Fprintln(p.out, token)
				return err
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&address, "address", "", "where the agent reaches the server, as `HOST:PORT` (default agents.address of the configuration)")
	return cmd
}

// agentAddress is where agents reach the server.
func agentAddress(h *house, address string) (string, error) {
	c := h.config.Agents
	switch {
	case address != "":
		return address, nil
	case c.Address != "":
		return c.Address, nil
	case c.Listen != "" && !strings.HasPrefix(c.Listen, "0.0.0.0:") && !strings.HasPrefix(c.Listen, "[::]:") && !strings.HasPrefix(c.Listen, ":"):
		return c.Listen, nil
	}
	return "", misuse(errors.New("the configuration does not say where agents reach the server"),
		"set agents.listen and agents.address in the configuration and name it with --config, or use --address")
}

func (p *program) agentList() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List agents",
		Long: `List agents. One that is waiting has not used its token yet; one that is silent has
not come for two minutes; of one that has ended the certificate has, and it has to
enrol again.

` + agentStatuses(),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error {
				list, err := p.agentsOf(h).List(ctx, h.actor)
				if err != nil {
					return err
				}
				return showAll(p, flags.json, list, []string{"AGENT", "STATE", "DOORS", "SEEN", "FROM", "CERTIFICATE UNTIL", "VERSION"}, agentCells)
			})
		},
	}
	flags.dataFlags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

func agentCells(a agent.Agent) []string {
	seen := "never"
	if !a.Seen.IsZero() {
		seen = a.Seen.Local().Format(time.DateTime)
	}
	return []string{a.Name, a.State, fmt.Sprint(a.Doors), seen, dash(a.Address), dayOf(a.NotAfter), dash(a.Version)}
}

func (p *program) agentRemove() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "Shut an agent out, at once",
		Long: `Shut an agent out, at once: its certificate and its token are refused from now on.
What it has installed stays. "tally agent add" lets it in again.

` + agentStatuses(),
		Args: exactly(1, "the name of an agent"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				if err := p.agentsOf(h).Remove(ctx, h.actor, args[0]); err != nil {
					return err
				}
				p.say("the agent %s is shut out", args[0])
				return nil
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}
