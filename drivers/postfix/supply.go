// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"unicode"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/editing"
	"github.com/tallystick/tallystick/driver/installing"
)

// SupplySecret writes a password into the entries of smtp_sasl_password_maps for a relay and an
// account, and makes Postfix read them. With smtp_sender_dependent_authentication those of
// senders, which name no relay, are of the account where they have its old password.
//
// What Postfix reads is made aside and takes its name at once, so that no delivery finds half a
// table. Mail whose sign-in was refused before is tried again. What fails once a table is written
// is no ErrNotFound, nor what else says that nothing was changed: the next call goes on.
func (d *door) SupplySecret(ctx context.Context, request driver.SupplyRequest) (driver.Changed, error) {
	if d.Role != roleClient {
		return driver.Changed{}, invalid("a postfix with role server signs in nowhere: make a door with role client")
	}
	if text := request.New.Reveal(); text == "" || strings.TrimSpace(text) != text || strings.ContainsFunc(text, unicode.IsControl) {
		return driver.Changed{}, invalid("a table of Postfix takes no password that is empty, or has control characters, or white space around it")
	}
	c, err := d.read(ctx, request.Host)
	if err != nil {
		return driver.Changed{}, err
	}
	found, left := c.passwordTables()
	which := picker{relay: relayOf(request.System), request: request, senders: c.anywhere("smtp_sender_dependent_authentication", yes)}
	for _, t := range found { // before anything is written
		if err := d.source(request.Host, t).Read(ctx, func([]byte) {}); err != nil {
			return driver.Changed{}, err
		}
	}
	var done driver.Changed
	var names []string
	for _, t := range found {
		s := supply{door: d, host: request.Host, table: t, picker: which}
		changed, has, err := s.do(ctx)
		if len(names) > 0 {
			err = driver.Unsettled(err)
		}
		if err != nil {
			return driver.Changed{}, err
		}
		if has {
			names = append(names, t.String())
		}
		done.Changed = done.Changed || changed
	}
	if len(names) == 0 {
		also := ""
		if len(left) > 0 {
			also = "; not looked at: " + strings.Join(left, ", ")
		}
		return driver.Changed{}, fmt.Errorf("%w: no entry of smtp_sasl_password_maps is for %s at %s%s", tallystick.ErrNotFound, request.Account, request.System, also)
	}
	if done.Changed {
		done.How, done.Detail = []string{"files", "postmap"}, "wrote "+strings.Join(names, ", ")
	}
	return done, driver.Unsettled(d.tryAgain(ctx, request.Host))
}

// source is the file that a table is made from.
func (d *door) source(h driver.Host, t table) editing.File {
	return editing.File{Host: h, Path: t.path, Queue: d.queue}
}

// passwordTables are those of smtp_sasl_password_maps, of any service, and the names of
// those that are of no type that can be edited here.
func (c *configuration) passwordTables() (found []table, left []string) {
	const name = "smtp_sasl_password_maps"
	values := []string{c.main[name]}
	for _, service := range c.overrides {
		values = append(values, service[name])
	}
	for _, value := range values {
		for _, word := range list(value) {
			t, ok := parseTable(strings.TrimPrefix(word, "proxy:"))
			switch {
			case !ok && !slices.Contains(left, word):
				left = append(left, word[:strings.IndexByte(word+":", ':')]) // what is behind it may be a password
			case ok && !slices.Contains(found, t):
				found = append(found, t)
			}
		}
	}
	slices.SortFunc(found, func(a, b table) int { return strings.Compare(a.String(), b.String()) })
	slices.Sort(left)
	return found, slices.Compact(left)
}

// anywhere says whether a parameter is so for any service.
func (c *configuration) anywhere(name string, is func(string) bool) bool {
	if is(c.main[name]) {
		return true
	}
	for _, service := range c.overrides {
		if is(service[name]) {
			return true
		}
	}
	return false
}

// A relay is where a program signs in; port is "" where none is named.
type relay struct{ host, port string }

// relayOf reads how people and tables name one: smtp.example.com, [smtp.example.com]:587,
// smtps://smtp.example.com:465.
func relayOf(text string) relay {
	if _, rest, has := strings.Cut(text, "://"); has {
		text = rest
	}
	text = strings.ToLower(strings.Trim(text, " /"))
	r := relay{host: text}
	if host, port, err := net.SplitHostPort(text); err == nil {
		r = relay{host, port}
	}
	if number, ok := wellKnown[r.port]; ok {
		r.port = number
	}
	r.host = strings.TrimSuffix(strings.Trim(r.host, "[]"), ".")
	return r
}

// is says whether two names may be of one relay.
func (r relay) is(other relay) bool {
	return r.host == other.host && (r.port == other.port || r.port == "" || other.port == "")
}

// A picker picks the entries that get a password.
type picker struct {
	relay   relay
	request driver.SupplyRequest
	senders bool // entries may be of senders
}

func (p picker) picks(e entry) bool {
	user, password, ok := strings.Cut(e.value, ":")
	if !ok || user != p.request.Account {
		return false
	}
	if strings.Contains(e.key, "@") {
		return p.senders && (password == p.request.New.Reveal() || !p.request.Old.IsZero() && password == p.request.Old.Reveal())
	}
	return relayOf(e.key).is(p.relay)
}

// fill returns a table with a password in the entries that are picked, and what stood in those
// of them where it was another, by their keys. Other lines stay.
func (p picker) fill(text []byte) (after []byte, picked []entry) {
	lines := strings.Split(string(text), "\n")
	var kept []string
	next := 0
	for _, e := range entries(text) {
		if !p.picks(e) {
			continue
		}
		picked = append(picked, e)
		if value := p.request.Account + ":" + p.request.New.Reveal(); e.value != value {
			first := lines[e.first]
			gap := len(first[len(e.key):]) - len(strings.TrimLeft(first[len(e.key):], " \t"))
			kept = append(append(kept, lines[next:e.first]...), first[:len(e.key)+gap]+value)
			if gap == 0 { // the value stood in the lines below
				kept[len(kept)-1] = e.key + " " + value
			}
			next = e.last + 1
		}
	}
	return []byte(strings.Join(append(kept, lines[next:]...), "\n")), picked
}

// A supply is the change of one table.
type supply struct {
	*door
	host  driver.Host
	table table
	picker
}

// do edits the table and has it read. It says whether that changed anything, and whether the
// table has an entry.
func (s supply) do(ctx context.Context) (changed, has bool, err error) {
	var picked []entry
	changed, err = s.source(s.host, s.table).Edit(ctx, func(text []byte) (after []byte, _ error) {
		after, picked = s.fill(text)
		return after, nil
	})
	if err != nil || len(picked) == 0 {
		return false, false, err
	}
	changed, err = s.reread(ctx, picked, changed)
	return changed, true, driver.Unsettled(err)
}

// reread has the table read once it was written, also by a call that was killed then, and says
// whether that changed anything.
func (s supply) reread(ctx context.Context, picked []entry, written bool) (changed bool, err error) {
	if indexed[s.table.kind] == "" {
		return written, s.reload(ctx, s.host)
	}
	if !written && s.agrees(ctx, picked) == nil {
		return false, nil
	}
	if err := s.index(ctx); err != nil {
		return false, err
	}
	return true, s.agrees(ctx, picked)
}

// indexing makes the file that Postfix reads of a table's source. Types that change it in place
// in the middle of their readers are made aside; the others do that themselves.
const indexing = `set -e
case "$3" in
hash|btree)
	staged=$(dirname -- "$1")/.$(basename -- "$1").tallystick-map
	trap 'rm -f -- "$staged" "$staged$4"' EXIT
	rm -f -- "$staged" "$staged$4"
	cp -a -- "$(readlink -f -- "$1")" "$staged"
	postmap -c "$2" "$3:$staged"
	sync "$staged$4"
	mv -f -- "$staged$4" "$1$4"
	;;
*)
	postmap -c "$2" "$3:$1"
	;;
esac
`

func (s supply) index(ctx context.Context) error {
	output, err := editing.Locked(ctx, s.host, s.table.path, indexing, nil, s.Config, s.table.kind, indexed[s.table.kind])
	if err == nil && output.Exit != 0 {
		err = fmt.Errorf("exit status %d: %s", output.Exit, installing.Said(output))
	}
	if err != nil {
		return fmt.Errorf("couldn't make what Postfix reads of %s, which has the new password: %w", s.table.path, err)
	}
	return nil
}

// agrees looks that Postfix reads the new password at each of the entries.
func (s supply) agrees(ctx context.Context, picked []entry) error {
	var keys strings.Builder
	for _, e := range picked {
		keys.WriteString(e.key + "\n")
	}
	output, err := s.host.Run(ctx, driver.Command{Args: []string{"postmap", "-c", s.Config, "-q", "-", s.table.String()}, Stdin: []byte(keys.String())})
	if err != nil {
		return err
	}
	want := s.request.Account + ":" + s.request.New.Reveal()
	right := 0
	for line := range strings.Lines(string(output.Stdout)) {
		if _, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t"); value == want {
			right++
		}
	}
	if right < len(picked) {
		return fmt.Errorf("postfix reads another password from %s than stands in its source", s.table)
	}
	return nil
}
