// SPDX-License-Identifier: Apache-2.0

package files

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick"
)

// A service is a server whose configuration names files of credentials.
//
// Every file in its usual directories is read, whether or not another includes
// it, except where distributions keep parts that nobody may have included.
type service struct {
	name  string
	dirs  []string // its directories beneath an etc
	mains []string // names that only its main configuration files have, wherever they are
	// parts says whether a file in its directories is configuration.
	parts func(name string) bool
	read  func(config) []reference
}

// services is the table of all of them; the readers are in usedby_*.go.
func services() []service {
	return []service{
		{"apache", []string{"apache2", "httpd"}, []string{"apache2.conf", "httpd.conf"}, plainOr(".conf", ".load"), readApache},
		{"dovecot", []string{"dovecot"}, []string{"dovecot.conf"}, plainOr(".conf", ".ext"), readDovecot},
		{"haproxy", []string{"haproxy"}, []string{"haproxy.cfg"}, plainOr(".cfg", ".list", ".lst", ".txt"), readHAProxy},
		{"nginx", []string{"nginx"}, []string{"nginx.conf"}, plainOr(".conf", ".inc"), readNginx},
		{"postfix", []string{"postfix"}, []string{"main.cf", "master.cf"}, plainOr(".cf"), readPostfix},
		{"postgresql", []string{"postgresql"}, []string{"postgresql.conf", "postgresql.auto.conf"}, isPostgresConfig, readPostgreSQL},
		{"slapd", []string{"ldap", "openldap"}, []string{"slapd.conf", "cn=config.ldif"}, isSlapdConfig, readSlapd},
		{"sshd", []string{"ssh"}, []string{"sshd_config"}, isSSHDConfig, readSSHD},
	}
}

// plainOr accepts names without an extension (sites-enabled/default) and with one of those.
func plainOr(extensions ...string) func(string) bool {
	return func(name string) bool {
		extension := filepath.Ext(name)
		return extension == "" || slices.Contains(extensions, extension)
	}
}

// serviceTable finds the service of a path quickly: most paths have none.
type serviceTable struct {
	byMain map[string]*service
	byDir  []dirService
}

type dirService struct {
	within  string // "/etc/nginx/"
	service *service
}

func newServiceTable() *serviceTable {
	table := &serviceTable{byMain: map[string]*service{}}
	for _, s := range services() {
		for _, main := range s.mains {
			table.byMain[main] = &s
		}
		for _, dir := range s.dirs {
			table.byDir = append(table.byDir, dirService{"/etc/" + dir + "/", &s})
		}
	}
	return table
}

// of returns the service that name in dir configures, or nil. What a
// distribution ships as an example, and what a server has available but not
// enabled, configures nothing.
func (t *serviceTable) of(dir, name string) *service {
	main := t.byMain[name]
	if main == nil && !strings.Contains(dir, "/etc/") {
		return nil
	}
	dir += "/"
	for _, part := range [...]string{"/usr/share/", "-available/", "/nginx/snippets/"} {
		if strings.Contains(dir, part) {
			return nil
		}
	}
	for _, d := range t.byDir {
		if strings.Contains(dir, d.within) && d.service.parts(name) {
			return d.service
		}
	}
	return main
}

// configDirs are the directories of all services on this machine. They are
// read whatever the targets are: who uses a file is not told by its neighbours.
func configDirs() []string {
	var dirs []string
	for _, s := range services() {
		for _, dir := range s.dirs {
			dirs = append(dirs, "/etc/"+dir)
		}
	}
	return dirs
}

// A config is one configuration file.
type config struct {
	path string
	text string
	from string // home of the file that includes this one; "" when none does
}

// dir is the directory of the file.
func (c config) dir() string { return filepath.Dir(c.path) }

// home is the directory that the service takes for its own: that beneath etc,
// or where the file is if it is elsewhere.
func (c config) home(names ...string) string {
	if c.from != "" {
		return c.from
	}
	for _, name := range names {
		if i := strings.LastIndex(c.path, "/etc/"+name+"/"); i >= 0 {
			return c.path[:i] + "/etc/" + name
		}
	}
	return c.dir()
}

// root is the directory that absolute paths in the file are beneath when it
// belongs to a chroot or an image: what stands before its etc.
func (c config) root() string {
	if i := strings.LastIndex(c.path, "/etc/"); i > 0 {
		return c.path[:i]
	}
	return ""
}

// A reference is one file that a configuration names.
type reference struct {
	path string // as written
	base string // directory that a relative path begins at; "" is that of the configuration file
	line int
	as   string // as tallystick.Usage.As, or included
}

// places returns where the file may be, the likeliest first.
func (c config) places(r reference) []string {
	if !filepath.IsAbs(r.path) {
		if !filepath.IsAbs(r.base) {
			r.base = filepath.Join(c.dir(), r.base)
		}
		r.path = filepath.Join(r.base, r.path)
	}
	if root := c.root(); root != "" && !within(r.path, root) {
		return []string{root + filepath.Clean(r.path), r.path}
	}
	return []string{r.path}
}

const (
	maxConfigSize = 1 << 20
	maxUsages     = 200_000 // over all files
)

// Usages says which services use a file, or all files of a directory.
type usages struct {
	table      *serviceTable
	mu         sync.Mutex
	count      int                           // guarded by mu
	by         map[fileID][]tallystick.Usage // guarded by mu; of files and of directories
	directives int                           // guarded by mu; how many include directives were expanded
	// included holds the files that were included, with the home of the
	// configuration that did so.
	included map[[2]string]bool // guarded by mu
}

func newUsages() *usages {
	return &usages{table: newServiceTable(), by: map[fileID][]tallystick.Usage{}, included: map[[2]string]bool{}}
}

// surveyConfig reads a file or a link if its name says that it configures a
// service. What cannot be read in a target is told by the second pass.
func (l *look) surveyConfig(d *directory, name string) error {
	s := l.services.table.of(d.path, name)
	if s == nil {
		return nil
	}
	path := join(d.path, name)
	text, err := readConfig(d.fd, name, maxConfigSize)
	if err != nil {
		if l.covers(path) {
			return nil
		}
		word, _ := wordOf(err)
		if word == "not-found" {
			return nil
		}
		return l.miss(path, word, "configuration of "+s.name)
	}
	if !l.services.addAll(s, config{path: path, text: string(text)}) {
		return l.miss(path, "too-many", "more files are named by configurations than are kept")
	}
	return nil
}

// readConfig reads a configuration file in an open directory; links are
// followed, because that is how sites are enabled.
func readConfig(dir int, name string, limit int64) ([]byte, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(dir, name, fileFlags&^unix.O_NOFOLLOW, 0) })
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	data, _, err := readAll(fd, limit)
	return data, err
}

// add remembers that a configuration names a file. It says false when there
// is no room. A file that does not exist has no credential to tell about.
func (u *usages) add(serviceName string, c config, r reference) bool {
	var st unix.Stat_t
	found := false
	for _, path := range c.places(r) {
		if err := unix.Stat(path, &st); err == nil {
			found = true
			break
		}
	}
	if !found {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.count >= maxUsages {
		return false
	}
	u.count++
	id := idOf(&st)
	usage := tallystick.Usage{Service: serviceName, Config: c.path, Line: r.line, As: r.as}
	if !slices.Contains(u.by[id], usage) {
		u.by[id] = append(u.by[id], usage)
	}
	return true
}

// of returns the uses of a file by itself and through its directory, in a
// fixed order.
func (u *usages) of(file, dir fileID) []tallystick.Usage {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := slices.Concat(u.by[file], u.by[dir])
	slices.SortFunc(all, func(a, b tallystick.Usage) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Config, b.Config), cmp.Compare(a.Line, b.Line), cmp.Compare(a.As, b.As))
	})
	return all
}
