// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/probing"
)

// Look says where the server listens and what it shows there, which CAs it lets clients in
// by, and what is on its revocation lists.
func (d *door) Look(ctx context.Context, request driver.LookRequest) (driver.View, error) {
	now, err := d.settings(ctx, request.Host)
	if err != nil {
		return driver.View{}, err
	}
	view := driver.View{Listeners: d.listeners(now)}
	if now.mistaken > 0 {
		view.Notes = append(view.Notes, fmt.Sprintf("%d lines of pg_hba.conf cannot be read: the server goes on with those that it read before", now.mistaken))
	}
	if now.ssl {
		view.Shown, _ = probing.Look(ctx, request.Host, view.Listeners, request.Now)
		if m, err := now.pair().Read(ctx, request.Host); err == nil {
			view.Shown = append(view.Shown, driver.Shown{Public: m.Public, At: now.cert, Key: installing.Check(m, request.Now()) == nil})
		} else {
			view.Notes = append(view.Notes, err.Error())
		}
	} else {
		view.Notes = append(view.Notes, "speaks no TLS (ssl is off)")
	}
	slices.SortFunc(view.Shown, func(a, b driver.Shown) int { return cmp.Compare(a.At, b.At) })
	err = d.clients(ctx, request.Host, now, request.Now(), &view)
	slices.Sort(view.Notes)
	return view, err
}

// clients tells which clients get in.
func (d *door) clients(ctx context.Context, h driver.Host, now settings, at time.Time, view *driver.View) error {
	if !now.ssl || now.ca == "" || !now.byCertificate {
		view.Notes = append(view.Notes, "lets no client in by a certificate (pg_hba.conf, ssl_ca_file)")
		return nil
	}
	cas, err := blocking.AuthoritiesAt(ctx, h, now.ca)
	if err != nil {
		return err
	}
	lists, err := d.revocations(ctx, h, now)
	if err != nil {
		return err
	}
	lists.all().ShowTo(view, cas, at)
	if len(lists) == 0 {
		view.Notes = append(view.Notes, "has no revocation list: whatever a CA has revoked gets in")
	}
	return nil
}

// listeners returns where the server listens for TCP. All of its listeners are one process
// with one configuration.
func (d *door) listeners(now settings) []driver.Listener {
	details := map[string]string{"database": d.Database}
	if d.ClientUser != "" {
		details["user"] = d.ClientUser
	}
	var all []driver.Listener
	for _, address := range strings.Split(now.addresses, ",") {
		address = strings.TrimSpace(address)
		if address == "" {
			continue
		}
		all = append(all, driver.Listener{Address: net.JoinHostPort(probing.Reach(address, ""), now.port), Protocol: "postgres", ServerName: d.ServerName, Details: details})
	}
	slices.SortFunc(all, func(a, b driver.Listener) int { return cmp.Compare(a.Address, b.Address) })
	return all
}

// A listFile is a file with revocation lists.
type listFile struct {
	path  string
	lists blocking.Lists
}

type listFiles []listFile

func (l listFiles) all() blocking.Lists {
	var lists blocking.Lists
	for _, file := range l {
		lists = append(lists, file.lists...)
	}
	return lists
}

// hashed is a name under which OpenSSL finds lists in a directory (X509_LOOKUP_hash_dir(3ssl)).
var hashed = regexp.MustCompile(`^[0-9a-f]{8}\.r[0-9]+$`)

// revocations reads all lists that the server reads. A file that is not there is none.
func (d *door) revocations(ctx context.Context, h driver.Host, now settings) (listFiles, error) {
	var paths []string
	if now.list != "" {
		paths = append(paths, now.list)
	}
	if now.dir != "" {
		names, err := d.namesIn(ctx, h, now.dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			paths = append(paths, path.Join(now.dir, name))
		}
	}
	var files listFiles
	for _, file := range paths {
		text, err := h.ReadFile(ctx, file, blocking.MaxFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		lists, err := blocking.ReadLists(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		files = append(files, listFile{file, lists})
	}
	return files, nil
}

// namesIn asks the server for the names in a directory that OpenSSL looks for.
func (d *door) namesIn(ctx context.Context, h driver.Host, dir string) ([]string, error) {
	conn, err := d.connect(ctx, h)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var names []string
	if err := conn.QueryRow(ctx, "SELECT coalesce(array_agg(n ORDER BY n), '{}') FROM pg_ls_dir($1) n", dir).Scan(&names); err != nil {
		return nil, answered("couldn't see what is in "+dir, err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !hashed.MatchString(name) }), nil
}
