// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/token"

	"github.com/tallystick/tallystick"
)

// Agent is the YAML file of `tally agent run`. It alone says which doors the agent has
// and what is run there: a server names a door and an act, and nothing else. Paths in it
// that are not absolute are relative to the directory of the file.
type Agent struct {
	// The directory where the agent keeps who it is, and the keys of recalls that go on. It
	// is made for the user that the agent runs as, and must be kept from all others.
	Data string `yaml:"data"`

	// A file with the token that `tally agent add` has written, by which the agent finds the
	// server and enrols. It is read until that is done, and can be removed then.
	TokenFile string `yaml:"token_file"`

	// How often to tell the server how the doors stand. The default is 5m.
	LookEvery time.Duration `yaml:"look_every"`

	// Where the agent may try credentials beside its own doors: networks such as
	// 10.0.0.0/8, addresses, and names of hosts, with a port or for all. A server that asks for anything else is refused.
	Connect []string `yaml:"connect"`

	// Where the agent writes down the uses that it makes itself when it tries a credential,
	// so that the tally does not take them for somebody else's.
	Uses AgentUses `yaml:"uses"`

	// Machines that are reached over SSH, for doors that are on them.
	Hosts []Host `yaml:"hosts"`

	// The installed systems that the agent works at.
	Doors []Door `yaml:"doors"`
}

// AgentUses says where uses are sent: to a source of the server.
type AgentUses struct {
	// The address of the source, as `tally source add` has written it.
	URL string `yaml:"url"`

	// The name of the source.
	Source string `yaml:"source"`

	// A file with the token of the source.
	TokenFile string `yaml:"token_file"`

	// A file with the certificate of the server, or of the CA that made it, PEM. Without it
	// the CAs count that this machine trusts.
	CertificateFile string `yaml:"certificate_file"`
}

const (
	defaultLookEvery = 5 * time.Minute
	leastLookEvery   = 10 * time.Second
)

// hostForm is a host name in ASCII.
var hostForm = regexp.MustCompile(`^[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,251}[a-zA-Z0-9_])?$`)

// LoadAgent reads the configuration of an agent and fills in the defaults. A file that
// cannot be used is ErrInvalid, with a line for each mistake.
func LoadAgent(path string) (*Agent, error) {
	text, err := readFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the configuration: %w", err)
	}
	d := &decoder{name: path, at: map[string]*token.Position{}}
	a := &Agent{}
	if root := d.parse(text); root != nil && len(d.mistakes) == 0 {
		d.value(root, reflect.ValueOf(a).Elem(), "")
	}
	if len(d.mistakes) == 0 {
		a.check(d)
	}
	if len(d.mistakes) > 0 {
		return nil, fmt.Errorf("%w: %w", tallystick.ErrInvalid, errors.Join(d.mistakes...))
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("couldn't find the directory of the configuration: %w", err)
	}
	a.resolve(dir)
	return a, nil
}

func (a *Agent) check(d *decoder) {
	if a.Data == "" {
		d.wrong("data", "it says where keys are kept, such as /var/lib/tally-agent")
	}
	if a.LookEvery != 0 && a.LookEvery < leastLookEvery {
		d.wrong("look_every", "it is at least 10s")
	}
	checkConnect(d, "connect", a.Connect)
	if a.Uses != (AgentUses{}) {
		a.Uses.check(d)
	}
	checkDoors(d, a.Hosts, a.Doors)
}

// MostConnect is how many networks and hosts one may name.
const MostConnect = 100

// checkConnect notes what is not a place to connect to.
func checkConnect(d *decoder, path string, list []string) {
	if len(list) > MostConnect {
		d.wrong(path, "it has at most %d networks and hosts; name larger networks", MostConnect)
	}
	for i, where := range list {
		host, port, err := net.SplitHostPort(where)
		if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 {
			host = where
		}
		_, network := netip.ParsePrefix(host)
		_, address := netip.ParseAddr(host)
		if network != nil && address != nil && !hostForm.MatchString(host) || network == nil && host != where {
			d.wrong(fmt.Sprintf("%s[%d]", path, i), "it is a network such as 10.0.0.0/8, an address, or the name of a host, with a port such as dir.example.com:636 or for all")
		}
	}
}

func (u AgentUses) check(d *decoder) {
	if !strings.HasPrefix(u.URL, "https://") {
		d.wrong("uses.url", "it begins with https://")
	}
	if u.TokenFile == "" {
		d.wrong("uses.token_file", "it holds the token of the source")
	}
	if u.Source == "" {
		d.wrong("uses.source", "it is the name of the source")
	}
}

// resolve makes paths absolute and sets what is not set to its default.
func (a *Agent) resolve(dir string) {
	for _, path := range []*string{&a.Data, &a.TokenFile, &a.Uses.TokenFile, &a.Uses.CertificateFile} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	resolveHosts(a.Hosts, dir)
	if a.LookEvery == 0 {
		a.LookEvery = defaultLookEvery
	}
}
