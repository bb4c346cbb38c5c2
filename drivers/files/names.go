// SPDX-License-Identifier: Apache-2.0

package files

import "strings"

// An interest says how far a file is looked into, by its name alone.
type interest int

const (
	never  interest = iota // not opened
	byHead                 // read when its first bytes are those of a credential
	byName                 // read whole: the credential may stand anywhere in it
)

// neverExtensions are those of programs, documents, pictures, archives and
// data that have a magic of their own, so that no credential begins there.
// They are most of a machine's files, and opening a file costs a hundred times
// what looking at its name does. What text formats are here hold credentials
// only as quotations.
var neverExtensions = set(
	// programs and what they are built from
	"a ac al am awk bc bat c cc cmake cpp cs css cxx d dll el elc erl ex exe f90 frag go gradle groovy h hh hpp hs html htm "+
		"inc inl ipp java jl js jsx kt la lds less ll lua m m4 mjs mk ml mod nse o objs pas ph php pl plist pm po pod "+
		"pot proto ps1 pxd py pyc pyd pyi pyo pyx r rb rs s sass scala scss sh so sql sum swift syso t tcc tcl td tmpl ts tsx "+
		"vert vim vue wasm whl xs xsd xsl xslt",
	// documents
	"adoc asciidoc bib doc docx dtd epub md me mo odt pdf pod ps rst rtf tex texi xhtml",
	// pictures, sound, fonts
	"afm avi bmp eps flac gif icns ico jpeg jpg mp3 mp4 ogg otf pcf pfb pfm png pnm ppm svg svgz tif tiff ttc ttf wav webm webp woff woff2 xcf xpm",
	// archives and compressed files
	"7z apk br bz2 cab cpio deb gz iso jar jmod lz lz4 lzma rar rpm squashfs tar tbz tgz txz udeb war xz zip zst",
	// data of packages and tools
	"debug desktop gir gresource ko lang list map md5sums mod nib pc pack qm res rev rules service shlibs socket symbols "+
		"target terminfo timer tmac triggers typelib typed vimrc xml",
)

// credentialExtensions and credentialNames are what people and programs call
// files of credentials. Some have text before the first PEM block: openssl
// writes "Bag Attributes" or a dump there, and bundles begin with comments.
var credentialExtensions = set(
	"pem crt cer cert ca-bundle ca chain fullchain bundle der key keys pub p12 pfx p7b p7c p7s p7m p8 pk8 pkcs12 jks jceks ks " +
		"bks keystore truststore ovpn kubeconfig ppk",
)

var credentialNames = set(
	"authorized_keys authorized_keys2 known_hosts known_hosts2 known_hosts.old ssh_known_hosts ssh_known_hosts2 cacerts jssecacerts identity id_rsa id_dsa " +
		"id_ecdsa id_ed25519 id_ecdsa_sk id_ed25519_sk .keystore .truststore",
)

// set makes a set of the words in texts.
func set(texts ...string) map[string]bool {
	words := map[string]bool{}
	for _, text := range texts {
		for _, word := range strings.Fields(text) {
			words[word] = true
		}
	}
	return words
}

// credentialWords in a name make it worth reading whole as well: bundles are
// called cacerts.txt or my-truststore, and begin with comments.
var credentialWords = [...]string{"cert", "keystore", "truststore", "authorized_keys", "known_hosts"}

// classify says how far to look into a file of this name.
func classify(name string) interest {
	if credentialNames[name] {
		return byName
	}
	extension := ""
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		extension = name[dot+1:]
	}
	if neverExtensions[extension] {
		return never
	}
	if credentialExtensions[strings.ToLower(extension)] {
		return byName
	}
	for _, word := range credentialWords {
		if strings.Contains(name, word) {
			return byName
		}
	}
	return byHead
}
