// SPDX-License-Identifier: Apache-2.0

// Package ldapdir is what drivers of directories share: sessions over LDAP that are bounded and
// never lock an account, and the comparison of what stands in a directory with what stood
// there before.
//
// A session reaches the one host that the options name. A referral to another is an error or is
// left, never followed.
package ldapdir

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
)

// A Server says where a directory is and how to sign in there.
type Server struct {
	URL          *url.URL // of ParseURL
	Address      string   // host:port to connect to where the host of URL has several addresses, "" is that of URL
	Bind         string   // the name to sign in with, "" signs nobody in by a password
	PasswordFile string
	External     bool   // sign in by SASL EXTERNAL: as who one is at a socket, or by Certificate
	Certificate  string // PEM file of a certificate and key to show in TLS
	CA           string // PEM file of roots, "" is what this machine trusts
	ServerName   string // in the certificate of the server, "" is the host of URL
	Plain        bool   // do not ask for TLS on ldap://
	Timeout      time.Duration
}

// ParseURL reads where a directory is: ldaps://host:port/BASE, ldap://host:port/BASE, or
// ldapi:///path/of/socket. The base is a DN and may be left out.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, invalid("%s is not a URL such as ldaps://dc1.lab.test", network.Quote(text))
	}
	switch {
	case u.Scheme == "ldapi" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return u, nil
	case (u.Scheme == "ldap" || u.Scheme == "ldaps") && u.Hostname() != "":
		port := u.Port()
		if port == "" {
			port = map[string]string{"ldap": "389", "ldaps": "636"}[u.Scheme]
		}
		u.Host = net.JoinHostPort(u.Hostname(), port)
		return u, nil
	}
	return nil, invalid("%s is not a URL such as ldaps://dc1.lab.test", network.Quote(text))
}

// Base returns the DN that a URL names, "" when it names none.
func (s Server) Base() string {
	if s.URL.Scheme == "ldapi" {
		return ""
	}
	return strings.TrimPrefix(s.URL.Path, "/")
}

// Below says whether an entry is the base or below it, however the two DNs are written (RFC 4514).
// Nothing is below what is no DN.
func Below(base, dn string) bool {
	above, err := ldap.ParseDN(base)
	if err != nil {
		return false
	}
	entry, err := ldap.ParseDN(dn)
	return err == nil && (above.AncestorOfFold(entry) || above.EqualFold(entry))
}

// Host is how a directory is called in places: host:port, or the path of its socket.
func (s Server) Host() string {
	if s.URL.Scheme == "ldapi" {
		return s.URL.Path
	}
	return s.URL.Host
}

// Check says what of the options does not fit together.
func (s Server) Check() error {
	switch {
	case (s.Bind == "") != (s.PasswordFile == ""):
		return invalid("options bind and password-file belong together: give both or none")
	case s.Bind != "" && s.External:
		return invalid("options bind and external: one of them signs in")
	case s.Certificate != "" && !s.External:
		return invalid("option certificate signs in with external")
	case s.Bind != "" && s.Plain && s.URL.Scheme == "ldap" && !loopback(s.URL.Hostname()):
		return invalid("option plain would send the password to %s for everybody to read: use ldaps://, or leave it out for StartTLS", s.URL.Host)
	case s.Timeout < 100*time.Millisecond || s.Timeout > 10*time.Minute:
		return invalid("option timeout: %v is not between 100ms and 10m", s.Timeout)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// maxFile bounds what is read of a file of the options.
const maxFile = 1 << 20

func readFile(option, path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > most) {
		err = fmt.Errorf("it is no file of at most %d bytes", most)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, invalid("option %s: %v", option, err)
	}
	return text, nil
}

// password reads the first line of the file.
func (s Server) password() (string, error) {
	info, err := os.Stat(s.PasswordFile)
	if err == nil && info.Mode()&0o007 != 0 {
		return "", invalid("everybody can read the password in %s: take that away (chmod 600)", s.PasswordFile)
	}
	text, err := readFile("password-file", s.PasswordFile, 4096)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" { // a bind with a name and no password signs nobody in, and says that it did (RFC 4513 section 5.1.2)
		return "", invalid("there is no password in the first line of %s", s.PasswordFile)
	}
	return line, nil
}

// tls returns how to speak TLS with the server.
func (s Server) tls() (*tls.Config, error) {
	name := s.ServerName
	if name == "" {
		name = s.URL.Hostname()
	}
	config := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}
	if s.CA != "" {
		text, err := readFile("ca", s.CA, maxFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, invalid("option ca: there is no certificate in %s", s.CA)
		}
	}
	if s.Certificate != "" {
		text, err := readFile("certificate", s.Certificate, maxFile)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(text, text)
		if err != nil {
			return nil, invalid("option certificate: there is no certificate with its key in %s", s.Certificate)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
