// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/tallystick/tallystick"
)

// A target is one document: at a URL, or in a file when that is nil.
type target struct {
	url   *url.URL
	path  string
	place tallystick.Place
}

// parseTarget reads https://host/path, http://127.0.0.1/path, metadata://host/path,
// file:///path or /path.
func parseTarget(text string) (target, error) {
	if filepath.IsAbs(text) {
		return fileTarget(text), nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return target{}, invalid("%.200q is not a URL or an absolute path", text)
	}
	switch {
	case u.User != nil:
		return target{}, invalid("the URL at %q carries a user name: leave it out", u.Host)
	case (u.Scheme == "file" || u.Scheme == "metadata") && u.Host == "" && filepath.IsAbs(u.Path):
		return fileTarget(u.Path), nil
	case u.Scheme == "metadata":
		u.Scheme = "https"
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return target{}, invalid("%.200q would be read without TLS, which is allowed on this machine alone: write https://", text)
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.Opaque != "" {
		return target{}, invalid("%.200q is not an https URL or the path of a file", text)
	}
	u.Host, u.Fragment, u.RawFragment = hostOf(u), "", ""
	if u.Path == "" {
		u.Path = "/"
	}
	place := *u
	place.Scheme = "metadata"
	return target{url: u, place: tallystick.Place(place.String())}, nil
}

func fileTarget(path string) target {
	path = filepath.Clean(path)
	return target{path: path, place: tallystick.Place((&url.URL{Scheme: "metadata", Path: path}).String())}
}

func parseTargets(texts []string) ([]target, error) {
	if len(texts) == 0 {
		return nil, invalid("name the URLs or files of SAML metadata, or of OpenID providers")
	}
	targets := make([]target, 0, len(texts))
	for _, text := range texts {
		t, err := parseTarget(text)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// hostOf is host and port in one way of writing: in lower case, and without the
// port that goes without saying.
func hostOf(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		if strings.Contains(host, ":") {
			return "[" + host + "]"
		}
		return host
	}
	return net.JoinHostPort(host, port)
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
