// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"context"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// maxFile bounds what is read of one file, in bytes.
const maxFile = 16 << 20

// A site is how an sshd is configured.
type site struct {
	addresses                  []string // host:port, at which it can be reached
	hostKeys, hostCertificates []string
	config, pidFile            string
	userCAs, commands          []string // of any account
	revoked                    []string // files of RevokedKeys, of the machine first
	unlisted                   []string // accounts without RevokedKeys
	accounts                   []account
	root                       bool // the driver acts as root
}

// An account is one that people or programs sign in as.
type account struct {
	name, home, id, group string
	keys                  []string        // files of authorized_keys, that may be there
	own                   map[string]bool // of these, those that are in its home
	userCAs               string          // "" where there are none
	effective             settings        // that count for it
}

// settings are what sshd -T prints: keywords in lower case with their values.
type settings map[string][]string

func (s settings) first(name string) string {
	if len(s[name]) == 0 || s[name][0] == "none" {
		return ""
	}
	return s[name][0]
}

// effective asks sshd what counts: for the machine, or for an account of a connection.
func (d *Door) effective(ctx context.Context, h driver.Host, connection string) (settings, error) {
	args := []string{d.options.Program, "-T", "-f", d.options.Config}
	if connection != "" {
		args = append(args, "-C", connection)
	}
	output, err := h.Run(ctx, driver.Command{Args: args})
	if err != nil {
		return nil, err
	}
	if output.Exit != 0 {
		return nil, invalid("sshd -T refuses the configuration: %s", installing.Said(output))
	}
	s := settings{}
	for line := range strings.Lines(string(output.Stdout)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		s[name] = append(s[name], value)
	}
	return s, nil
}

// load reads the configuration, and what counts for all accounts that are looked at.
func (d *Door) load(ctx context.Context, h driver.Host) (*site, error) {
	return d.loadFor(ctx, h, d.options.Accounts)
}

// loadFor reads the configuration, and what counts for some accounts; none are all that have
// a shell.
func (d *Door) loadFor(ctx context.Context, h driver.Host, accounts []string) (*site, error) {
	machine, err := d.effective(ctx, h, "")
	if err != nil {
		return nil, err
	}
	s := &site{hostKeys: machine["hostkey"], hostCertificates: machine["hostcertificate"], config: d.options.Config, pidFile: machine.first("pidfile")}
	for _, address := range machine["listenaddress"] {
		s.addresses = append(s.addresses, d.reachable(address)...)
	}
	slices.Sort(s.addresses)
	s.addresses = slices.Compact(s.addresses)
	if s.accounts, err = people(ctx, h, accounts); err != nil {
		return nil, err
	}
	who, err := installing.Run(ctx, h, "id", "-u")
	if err != nil {
		return nil, err
	}
	s.root = strings.TrimSpace(who) == "0"
	s.note(machine, "")
	for i := range s.accounts {
		a := &s.accounts[i]
		own, err := d.effective(ctx, h, fmt.Sprintf("user=%s,host=localhost,addr=127.0.0.1,laddr=127.0.0.1", a.name))
		if err != nil {
			return nil, err
		}
		s.note(own, a.name)
		a.effective = own
		a.userCAs = own.first("trustedusercakeys")
		for _, pattern := range strings.Fields(own.first("authorizedkeysfile")) {
			file := a.expand(pattern)
			if !slices.Contains(a.keys, file) {
				a.keys = append(a.keys, file)
			}
			if !path.IsAbs(pattern) || strings.Contains(pattern, "%h") {
				a.own[file] = true
			}
		}
	}
	return s, nil
}

// note takes down what of settings counts for all.
func (s *site) note(own settings, account string) {
	add := func(list *[]string, value string) {
		if value != "" && !slices.Contains(*list, value) {
			*list = append(*list, value)
		}
	}
	add(&s.userCAs, own.first("trustedusercakeys"))
	add(&s.revoked, own.first("revokedkeys"))
	add(&s.commands, own.first("authorizedkeyscommand"))
	if own.first("revokedkeys") == "" {
		add(&s.unlisted, account)
	}
}

// reachable says where a listener can be reached from the machine itself.
func (d *Door) reachable(address string) []string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return []string{address}
	}
	switch {
	case d.options.Address != "":
		return []string{net.JoinHostPort(d.options.Address, port)}
	case host == "::":
		return []string{net.JoinHostPort("::1", port)}
	}
	return []string{net.JoinHostPort("127.0.0.1", port)}
}

// people are the accounts that are named, or all that have a shell.
func people(ctx context.Context, h driver.Host, accounts []string) ([]account, error) {
	output, err := h.Run(ctx, driver.Command{Args: append([]string{"getent", "passwd"}, accounts...)})
	if err != nil {
		return nil, err
	}
	var all []account
	for line := range strings.Lines(string(output.Stdout)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) != 7 || !isAccount(fields[0]) || !path.IsAbs(fields[5]) {
			continue
		}
		shell := path.Base(fields[6])
		if len(accounts) == 0 && slices.Contains([]string{"nologin", "false", "sync"}, shell) {
			continue
		}
		all = append(all, account{name: fields[0], home: fields[5], id: fields[2], group: fields[3], own: map[string]bool{}})
	}
	slices.SortFunc(all, func(a, b account) int { return strings.Compare(a.name, b.name) })
	all = slices.CompactFunc(all, func(a, b account) bool { return a.name == b.name })
	for _, name := range accounts {
		if !slices.ContainsFunc(all, func(a account) bool { return a.name == name }) {
			return nil, fmt.Errorf("%w: the account %s is not on this machine", tallystick.ErrNotFound, name)
		}
	}
	return all, nil
}

// isAccount says whether a name can be one that sshd -C takes.
func isAccount(name string) bool {
	return name != "" && len(name) <= 256 && !strings.HasPrefix(name, "-") && !strings.ContainsAny(name, ",= \t\r\n/:%")
}

// expand puts an account into a pattern of AuthorizedKeysFile (sshd_config(5), TOKENS).
func (a account) expand(pattern string) string {
	file := strings.NewReplacer("%%", "%", "%h", a.home, "%u", a.name, "%U", a.id).Replace(pattern)
	if !path.IsAbs(file) {
		file = path.Join(a.home, file)
	}
	return path.Clean(file)
}
