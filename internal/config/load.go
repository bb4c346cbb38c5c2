// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// What is not in the file.
const (
	defaultListen = "127.0.0.1:8443"
	defaultEST    = "127.0.0.1:8444"
	defaultEvery  = 24 * time.Hour
	defaultKeep   = 400 * 24 * time.Hour

	defaultTolerance = 2 * time.Minute

	defaultAtOnce = 4
)

// defaultJobs returns what is looked at when the file names nothing.
func defaultJobs() []Job {
	return []Job{
		{Name: "files", Driver: "files", Every: defaultEvery},
		{Name: "truststore", Driver: "truststore", Every: defaultEvery},
		{Name: "tls", Driver: "tls", Every: defaultEvery},
		{Name: "ssh", Driver: "ssh", Every: defaultEvery},
	}
}

// The largest files that are read, in bytes. A configuration of this size has tens of
// thousands of doors: a vendor has one for each customer.
const (
	maxFile       = 16 << 20
	maxSecretFile = 4 << 10
)

// Load reads the file at path and fills in the defaults; without a path there
// are defaults only. getenv is os.Getenv. A file that cannot be used is
// ErrInvalid, with a line for each mistake.
func Load(path string, getenv func(string) string) (*Config, error) {
	c := &Config{}
	if path != "" {
		text, err := readFile(path, maxFile)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the configuration: %w", err)
		}
		if c, err = Parse(path, text); err != nil {
			return nil, err
		}
		dir, err := filepath.Abs(filepath.Dir(path))
		if err != nil {
			return nil, fmt.Errorf("couldn't find the directory of the configuration: %w", err)
		}
		c.resolve(dir)
	}
	return c, c.fill(getenv)
}

// resolve makes paths absolute.
func (c *Config) resolve(dir string) {
	for _, path := range []*string{&c.Data, &c.DatabaseFile, &c.MetricsTokenFile, &c.ASNTable, &c.TLS.Certificate, &c.TLS.Key,
		&c.Custody.File, &c.Vault.Witness, &c.Issuing.SPIFFE.Socket} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	for i, r := range c.Renew {
		if r.Directory != "" && !filepath.IsAbs(r.Directory) {
			c.Renew[i].Directory = filepath.Join(dir, r.Directory)
		}
	}
	resolveHosts(c.Hosts, dir)
	for i, path := range c.Sigma {
		if !filepath.IsAbs(path) {
			c.Sigma[i] = filepath.Join(dir, path)
		}
	}
}

// resolveHosts makes the paths of keys absolute.
func resolveHosts(hosts []Host, dir string) {
	for i, h := range hosts {
		if h.KeyFile != "" && !filepath.IsAbs(h.KeyFile) {
			hosts[i].KeyFile = filepath.Join(dir, h.KeyFile)
		}
	}
}

// fill sets what is not set to its default.
func (c *Config) fill(getenv func(string) string) error {
	if c.Listen == "" {
		c.Listen = defaultListen
	}
	if c.Issuing.EST.Listen == "" {
		c.Issuing.EST.Listen = defaultEST
	}
	if c.Data == "" {
		dir, err := dataDir(getenv)
		if err != nil {
			return err
		}
		c.Data = dir
	}
	if c.Tally.Tolerance == 0 {
		c.Tally.Tolerance = defaultTolerance
	}
	if c.Tally.Keep == 0 {
		c.Tally.Keep = defaultKeep
	}
	c.Recall.fill(c.isSet)
	if c.DiscoveryAtOnce == 0 {
		c.DiscoveryAtOnce = defaultAtOnce
	}
	if len(c.Discovery) == 0 {
		c.Discovery = defaultJobs()
	}
	for i := range c.Discovery {
		if c.Discovery[i].Every == 0 {
			c.Discovery[i].Every = defaultEvery
		}
	}
	return nil
}

// dataDir returns the user's data directory (XDG Base Directory Specification,
// which says to ignore a path that is not absolute).
func dataDir(getenv func(string) string) (string, error) {
	if dir := getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "tallystick"), nil
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "tallystick"), nil
	}
	return "", fmt.Errorf("%w: there is no home directory to keep the data in: name one with data or --data", tallystick.ErrInvalid)
}

// StoreURL returns what store.Open takes. It is a secret because it may hold a
// password.
func (c *Config) StoreURL() (driver.Secret, error) {
	if c.DatabaseFile == "" {
		if c.Database.IsZero() {
			return driver.NewSecret(filepath.Join(c.Data, "tally.db")), nil
		}
		return c.Database, nil
	}
	url, err := readSecret(c.DatabaseFile)
	if err != nil {
		return driver.Secret{}, fmt.Errorf("couldn't read database_file: %w", err)
	}
	if !isPostgres(url) {
		return driver.Secret{}, fmt.Errorf("%w: %s holds no URL that begins with postgres://", tallystick.ErrInvalid, c.DatabaseFile)
	}
	return url, nil
}

// MetricsToken returns the token of MetricsTokenFile, or the zero Secret when
// there is none.
func (c *Config) MetricsToken() (driver.Secret, error) {
	if c.MetricsTokenFile == "" {
		return driver.Secret{}, nil
	}
	token, err := readSecret(c.MetricsTokenFile)
	if err != nil {
		return driver.Secret{}, fmt.Errorf("couldn't read metrics_token_file: %w", err)
	}
	return token, nil
}

func isPostgres(url driver.Secret) bool {
	return strings.HasPrefix(url.Reveal(), "postgres://") || strings.HasPrefix(url.Reveal(), "postgresql://")
}

// readSecret reads a file that holds a secret and perhaps a line end.
func readSecret(path string) (driver.Secret, error) {
	text, err := readFile(path, maxSecretFile)
	if err != nil {
		return driver.Secret{}, err
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return driver.Secret{}, fmt.Errorf("%w: %s is empty", tallystick.ErrInvalid, path)
	}
	return driver.NewSecret(secret), nil
}

// readFile reads at most limit bytes; a larger file is ErrInvalid.
func readFile(path string, limit int64) (text []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", tallystick.ErrInvalid, path, limit)
	}
	return text, err
}

// WitnessDir returns the directory of the vault's witness.
func (c *Config) WitnessDir(getenv func(string) string) string {
	if c.Vault.Witness != "" {
		return c.Vault.Witness
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "tallystick")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "tallystick")
	}
	return c.Data
}
