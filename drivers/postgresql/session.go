// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

const (
	patience  = 30 * time.Second // for a reload to be done
	byteLimit = 64 << 20         // of all answers of one connection
)

// client is how to sign in as somebody. Everything is said here, so that nothing comes from
// the environment.
func (d *door) client(user string, password driver.Secret) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig("host=/nowhere port=5432 user=nobody password=none dbname=postgres sslmode=disable connect_timeout=30")
	if err != nil {
		return nil, invalid("the environment has settings for PostgreSQL that cannot be used: %v", err)
	}
	c.User, c.Password, c.Database, c.Fallbacks, c.TLSConfig = user, password.Reveal(), d.Database, nil, nil
	return c, nil
}

// connect signs in over the socket.
func (d *door) connect(ctx context.Context, h driver.Host) (*pgx.Conn, error) {
	c, err := d.client(d.User, d.Password)
	if err != nil {
		return nil, err
	}
	// Whoever may create functions must not have them called by a superuser.
	c.RuntimeParams = map[string]string{"application_name": "tallystick", "search_path": "pg_catalog"}
	c.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := h.Dial(ctx, "unix", d.Socket)
		if err != nil {
			return nil, err
		}
		return network.Limited(conn, byteLimit), nil
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, answered("couldn't sign in to PostgreSQL over "+d.Socket, err)
	}
	return conn, nil
}

// answered makes an error of what the server said: no again, or later.
func answered(doing string, err error) error {
	kind := tallystick.ErrUnavailable
	var said *pgconn.PgError
	if errors.As(err, &said) {
		switch {
		case strings.HasPrefix(said.Code, "28"), said.Code == "42501": // refused, not allowed
			kind = tallystick.ErrDenied
		case strings.HasPrefix(said.Code, "22"), strings.HasPrefix(said.Code, "42"):
			kind = tallystick.ErrInvalid
		}
		return fmt.Errorf("%w: %s: %s", kind, doing, network.Clean(said.Message))
	}
	return fmt.Errorf("%w: %s: %s", kind, doing, network.Clean(err.Error()))
}

// settings are what the server says of itself.
type settings struct {
	ssl             bool
	cert, key, ca   string // paths
	list, dir       string // of revocation lists; "" where there is none
	data, ident     string // paths
	addresses, port string
	loaded          time.Time // when the files were read last
	byCertificate   bool      // a line of pg_hba.conf asks for a certificate
	mistaken        int       // lines of pg_hba.conf that cannot be read
}

const settingsQuery = `SELECT current_setting('ssl')::bool, current_setting('ssl_cert_file'), current_setting('ssl_key_file'),
	current_setting('ssl_ca_file'), current_setting('ssl_crl_file'), current_setting('ssl_crl_dir'), current_setting('data_directory'),
	current_setting('ident_file'), current_setting('listen_addresses'), current_setting('port'), pg_conf_load_time(),
	EXISTS (SELECT FROM pg_hba_file_rules WHERE auth_method = 'cert' OR array_to_string(options, ',') LIKE '%clientcert=verify%'),
	(SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL)`

// settings asks for them, over a new connection: an old one knows when its own process
// read the files.
func (d *door) settings(ctx context.Context, h driver.Host) (settings, error) {
	conn, err := d.connect(ctx, h)
	if err != nil {
		return settings{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var s settings
	err = conn.QueryRow(ctx, settingsQuery).Scan(&s.ssl, &s.cert, &s.key, &s.ca, &s.list, &s.dir, &s.data, &s.ident, &s.addresses, &s.port, &s.loaded, &s.byCertificate, &s.mistaken)
	if err != nil {
		return settings{}, answered("couldn't ask PostgreSQL for its settings", err)
	}
	for _, file := range []*string{&s.cert, &s.key, &s.ca, &s.list, &s.dir} {
		if *file != "" {
			*file = s.at(*file)
		}
	}
	return s, nil
}

// at makes a path of a setting absolute: the server begins at its data directory.
func (s settings) at(file string) string {
	if path.IsAbs(file) {
		return file
	}
	return path.Join(s.data, file)
}

// reload has the server read its files, and waits until whoever connects next is served
// by what was read.
func (d *door) reload(ctx context.Context, h driver.Host, before time.Time) error {
	conn, err := d.connect(ctx, h)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "SELECT pg_reload_conf()")
	conn.Close(context.WithoutCancel(ctx))
	if err != nil {
		return answered("couldn't have PostgreSQL read its files", err)
	}
	for deadline := time.Now().Add(patience); ; {
		now, err := d.settings(ctx, h)
		if err == nil && now.loaded.After(before) {
			return nil
		}
		if err != nil || time.Now().After(deadline) {
			return errors.Join(err, fmt.Errorf("%w: PostgreSQL has not read its files within %s", tallystick.ErrUnavailable, patience))
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// unread says whether a file was written after the server has read its files.
func (s settings) unread(ctx context.Context, h driver.Host, file string) (bool, error) {
	info, err := h.Stat(ctx, file)
	if err != nil {
		return false, err
	}
	return !info.Modified.Before(s.loaded), nil
}
