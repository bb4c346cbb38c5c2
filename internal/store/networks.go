// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/tallystick/tallystick"
)

// A Network is a block of addresses or a domain, with what is in it now.
type Network struct {
	Name        string              `json:"network"`     // "10.0.2.0/24", "2001:db8:0:1::/64", "example.net"
	Endpoints   int64               `json:"endpoints"`   // places where something is
	Credentials int64               `json:"credentials"` // that are there
	Worst       tallystick.Severity `json:"worst,omitempty"`
	Protocols   []string            `json:"protocols"` // that endpoints accept: "tls1.2", "ssh" ...
	// Missed are the places that did not answer the last look of each job.
	Missed []MissCount `json:"missed"`
}

// A MissCount is how many places did not answer a run, for one reason.
type MissCount struct {
	Run    int64  `json:"run"`
	Source string `json:"job"`
	Word   string `json:"error"`
	Count  int64  `json:"count"`
}

// The bits of an address that name its network.
const (
	networkBits4 = 24
	networkBits6 = 64
)

// networkOf returns the network of a place as it is stored, or "" for a place on
// this machine. It sorts as people count: addresses by their numbers, version 4
// first, and then the domains.
func networkOf(p tallystick.Place) string {
	scheme, rest, ok := strings.Cut(string(p), "://")
	if !ok || scheme == "file" || scheme == "truststore" {
		return ""
	}
	hostport, _, _ := strings.Cut(rest, "/")
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	if host == "" {
		return ""
	}
	if address, err := netip.ParseAddr(host); err == nil {
		return keyOfAddress(address)
	}
	if domain := domainOf(host); domain != "" {
		return keyOfDomain(domain)
	}
	return ""
}

func keyOfAddress(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		b := a.As4()
		return fmt.Sprintf("4/%03d.%03d.%03d", b[0], b[1], b[2])
	}
	return "6/" + a.StringExpanded()[:len("0000:0000:0000:0000")]
}

func keyOfDomain(name string) string { return "n/" + cleanText(strings.ToLower(name)) }

// domainOf returns a name without its first label, or the name itself when
// that would leave a top-level domain.
func domainOf(host string) string {
	host = strings.TrimSuffix(host, ".")
	if _, parent, ok := strings.Cut(host, "."); ok && strings.Contains(parent, ".") {
		return parent
	}
	return host
}

// networkKey returns what networkOf returns for places in the network of a name;
// ErrInvalid for what is not the name of one.
func networkKey(name string) (string, error) {
	prefix, err := netip.ParsePrefix(name)
	if err != nil {
		if name == "" || strings.Contains(name, "/") {
			return "", fmt.Errorf("%w: %.60q is not a network: it is as 10.0.2.0/24, 2001:db8:0:1::/64 or example.net", tallystick.ErrInvalid, name)
		}
		return keyOfDomain(name), nil
	}
	if want := map[bool]int{true: networkBits4, false: networkBits6}[prefix.Addr().Is4()]; prefix.Bits() != want {
		return "", fmt.Errorf("%w: the network %.60q: blocks have %d bits, and of IPv6 addresses %d", tallystick.ErrInvalid, name, networkBits4, networkBits6)
	}
	return keyOfAddress(prefix.Addr()), nil
}

// networkName undoes networkKey.
func networkName(key string) string {
	kind, rest, _ := strings.Cut(key, "/")
	switch kind {
	case "4":
		var b [4]byte
		if _, err := fmt.Sscanf(rest, "%03d.%03d.%03d", &b[0], &b[1], &b[2]); err == nil {
			return netip.PrefixFrom(netip.AddrFrom4(b), networkBits4).String()
		}
	case "6":
		if address, err := netip.ParseAddr(rest + "::"); err == nil {
			return netip.PrefixFrom(address, networkBits6).String()
		}
	}
	return rest
}

// CheckNetwork returns ErrInvalid for what is not the name of a network; "" is none.
func CheckNetwork(name string) error {
	if name == "" {
		return nil
	}
	_, err := networkKey(name)
	return err
}

// keyOrNone is networkKey for filters: no place is in a network of no such name.
func keyOrNone(name string) string {
	key, err := networkKey(name)
	if err != nil {
		return "-"
	}
	return key
}

// protocolMarks are the words of TLSFacts.Protocols as they stand in stored facts.
var protocolMarks = [...]string{"ssl3", "tls1.0", "tls1.1", "tls1.2", "tls1.3"}

// protocolColumns say for a group of sightings which protocols any of them has.
func protocolColumns() string {
	var columns strings.Builder
	for _, word := range protocolMarks {
		columns.WriteString(`, MAX(CASE WHEN s.facts LIKE '%"` + word + `"%' THEN 1 ELSE 0 END)`)
	}
	return columns.String() + `, MAX(CASE WHEN p.scheme = 'ssh' THEN 1 ELSE 0 END)`
}

// protocolsOf names the columns that are set.
func protocolsOf(set []int64) []string {
	words := []string{}
	for i, word := range append(protocolMarks[:len(protocolMarks):len(protocolMarks)], "ssh") {
		if set[i] == 1 {
			words = append(words, word)
		}
	}
	return words
}

const atPlaces = ` FROM places p JOIN sightings s ON s.place_id = p.id AND s.gone_since = 0 JOIN credentials c ON c.id = s.credential_id
	WHERE p.present > 0 AND p.network > '' AND `

// lastDone are the last runs of each source that looked at everything.
const lastDone = `(SELECT MAX(id) FROM runs WHERE state = 'done' GROUP BY source)`

// Networks returns the networks in which something is, or did not answer the
// last look, in their order after one; "" begins.
func (db *DB) Networks(ctx context.Context, after string, limit int) ([]Network, error) {
	key := ""
	if after != "" {
		var err error
		if key, err = networkKey(after); err != nil {
			return nil, err
		}
	}
	const query = `SELECT DISTINCT network FROM places WHERE network > '' AND network > $1 AND present > 0
		UNION SELECT DISTINCT network FROM misses WHERE network > '' AND network > $1 AND run_id IN ` + lastDone + ` ORDER BY 1 LIMIT $2`
	rows, err := db.read.QueryContext(ctx, query, key, limit)
	keys, err := collect(db, "couldn't list the networks", rows, err, func(rows *sql.Rows) (string, error) {
		var key string
		return key, rows.Scan(&key)
	})
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	return db.fillNetworks(ctx, keys)
}

// Network returns one of them, empty when nothing is known of it.
func (db *DB) Network(ctx context.Context, name string) (Network, error) {
	key, err := networkKey(name)
	if err != nil {
		return Network{}, err
	}
	list, err := db.fillNetworks(ctx, []string{key})
	if err != nil {
		return Network{}, err
	}
	return list[0], nil
}

// fillNetworks returns the networks of some keys, which follow each other.
func (db *DB) fillNetworks(ctx context.Context, keys []string) ([]Network, error) {
	list := make([]Network, len(keys))
	at := make(map[string]*Network, len(keys))
	for i, key := range keys {
		list[i] = Network{Name: networkName(key), Protocols: []string{}, Missed: []MissCount{}}
		at[key] = &list[i]
	}
	between := []any{keys[0], keys[len(keys)-1]}
	query := `SELECT p.network, COUNT(DISTINCT p.id), COUNT(DISTINCT s.credential_id), MAX(c.severity)` + protocolColumns() + atPlaces +
		`p.network >= $1 AND p.network <= $2 GROUP BY p.network`
	rows, err := db.read.QueryContext(ctx, query, between...)
	err = each(rows, err, func(rows *sql.Rows) error {
		var key string
		var found Network
		marks := make([]int64, len(protocolMarks)+1)
		into := []any{&key, &found.Endpoints, &found.Credentials, &found.Worst}
		for i := range marks {
			into = append(into, &marks[i])
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if n := at[key]; n != nil {
			n.Endpoints, n.Credentials, n.Worst, n.Protocols = found.Endpoints, found.Credentials, found.Worst, protocolsOf(marks)
		}
		return nil
	})
	if err != nil {
		return nil, db.wrap("couldn't read the networks", err)
	}
	const missed = `SELECT m.network, m.run_id, r.source, m.error, COUNT(*) FROM misses m JOIN runs r ON r.id = m.run_id
		WHERE m.run_id IN ` + lastDone + ` AND m.network > '' AND m.network >= $1 AND m.network <= $2 GROUP BY m.network, m.run_id, r.source, m.error ORDER BY 5 DESC, 4, 2`
	rows, err = db.read.QueryContext(ctx, missed, between...)
	err = each(rows, err, func(rows *sql.Rows) error {
		var key string
		var m MissCount
		if err := rows.Scan(&key, &m.Run, &m.Source, &m.Word, &m.Count); err != nil {
			return err
		}
		if n := at[key]; n != nil {
			n.Missed = append(n.Missed, m)
		}
		return nil
	})
	return list, db.wrap("couldn't read what did not answer", err)
}

// An Endpoint is a place of a network.
type Endpoint struct {
	Place       tallystick.Place    `json:"place"`
	Credentials int64               `json:"credentials"`
	Worst       tallystick.Severity `json:"worst,omitempty"`
	Protocols   []string            `json:"protocols"`
}

// Endpoints returns the places of a network where something is, at most limit.
func (db *DB) Endpoints(ctx context.Context, network string, limit int) ([]Endpoint, error) {
	key, err := networkKey(network)
	if err != nil {
		return nil, err
	}
	query := `SELECT p.uri, COUNT(DISTINCT s.credential_id), MAX(c.severity)` + protocolColumns() + atPlaces + `p.network = $1 GROUP BY p.uri ORDER BY p.uri LIMIT $2`
	rows, err := db.read.QueryContext(ctx, query, key, limit)
	return collect(db, "couldn't read a network", rows, err, func(rows *sql.Rows) (Endpoint, error) {
		var e Endpoint
		marks := make([]int64, len(protocolMarks)+1)
		into := []any{&e.Place, &e.Credentials, &e.Worst}
		for i := range marks {
			into = append(into, &marks[i])
		}
		err := rows.Scan(into...)
		e.Protocols = protocolsOf(marks)
		return e, err
	})
}

// placeNetworks gives the places of a store of an older version their networks.
func (db *DB) placeNetworks(ctx context.Context) error {
	for {
		const some = `SELECT id, uri FROM places WHERE network = '' AND scheme NOT IN ('file', 'truststore') ORDER BY id LIMIT $1`
		rows, err := db.read.QueryContext(ctx, some, vanishPage)
		places := map[int64]string{}
		err = each(rows, err, func(rows *sql.Rows) error {
			var id int64
			var uri tallystick.Place
			err := rows.Scan(&id, &uri)
			if network := networkOf(uri); network != "" {
				places[id] = network
			}
			return err
		})
		if err != nil || len(places) == 0 {
			return err
		}
		err = db.tx(ctx, func(tx *writing) error {
			for id, network := range places {
				if _, err := tx.ExecContext(ctx, `UPDATE places SET network = $1 WHERE id = $2`, network, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}
