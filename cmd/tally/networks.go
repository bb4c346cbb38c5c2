// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/store"
)

func (p *program) listNetworks() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "networks", Short: "List networks, with what is in them and what did not answer",
		Long: `List networks, with what is in them and what did not answer the last look of each
job: blocks of 256 addresses, /64 blocks of IPv6, and domains. "tally list places"
and "tally list credentials" take one with --network.

` + listStatuses(),
		Example: "  tally list networks\n  tally list places --network 10.0.2.0/24",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.list(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				return show(p, flags, func(r store.PageRequest) (store.Page[store.Network], int64, error) {
					list, err := h.inventory.Networks(ctx, h.actor, r.After, r.Limit)
					page := store.Page[store.Network]{Items: list}
					if len(list) == r.Limit {
						page.Next = list[len(list)-1].Name
					}
					return page, 0, err
				}, networkHeads[:], networkCells)
			})
		},
	}
	flags.addTo(cmd, "")
	return cmd
}

var networkHeads = [...]string{"NETWORK", "ENDPOINTS", "CREDENTIALS", "WORST", "PROTOCOLS", "NOT SEEN"}

func networkCells(n store.Network) []string {
	var missed []string
	for _, m := range n.Missed {
		missed = append(missed, fmt.Sprintf("%d %s", m.Count, m.Word))
	}
	return []string{
		n.Name, strconv.FormatInt(n.Endpoints, 10), strconv.FormatInt(n.Credentials, 10), severityWord(n.Worst),
		strings.Join(n.Protocols, " "), strings.Join(missed, ", "),
	}
}
