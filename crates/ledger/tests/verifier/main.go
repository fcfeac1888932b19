// Verifier reads a ledger with code that Seaworthy's authors did not write: the Go project's own
// transparency log (golang.org/x/mod/sumdb/tlog) and signed notes (golang.org/x/mod/sumdb/note).
//
//	verifier tree DATA/ledger KEY [OLDER-CHECKPOINT...]
//	verifier proof PROOF.json KEY
//
// It prints one line of JSON. Exit 0: everything holds. Exit 1: something does not, and "broken"
// says what. Exit 2: wrong use.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// Tiles of C2SP tlog-tiles have 2^8 hashes, bundles as many entries.
	height = 8
	width  = 1 << height
	// Records, beside the first and the last, whose inclusion is proved.
	samples = 64
)

type report struct {
	Size        int64  `json:"size"`
	Root        string `json:"root,omitempty"`
	Entries     int64  `json:"entries,omitempty"`
	Tiles       int    `json:"tiles,omitempty"`
	Inclusion   int    `json:"inclusion,omitempty"`
	Consistency int    `json:"consistency,omitempty"`
	Broken      string `json:"broken,omitempty"`
}

func main() {
	if len(os.Args) < 4 || (os.Args[1] != "tree" && os.Args[1] != "proof") {
		fmt.Fprintln(os.Stderr, "usage: verifier tree DIR KEY [OLDER-CHECKPOINT...] | verifier proof FILE KEY")
		os.Exit(2)
	}
	var found report
	var err error
	if os.Args[1] == "tree" {
		err = checkTree(&found, os.Args[2], os.Args[3], os.Args[4:])
	} else {
		err = checkProof(&found, os.Args[2], os.Args[3])
	}
	if err != nil {
		found.Broken = err.Error()
	}
	line, _ := json.Marshal(found)
	fmt.Println(string(line))
	if err != nil {
		os.Exit(1)
	}
}

func checkTree(found *report, dir, key string, older []string) error {
	text, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(text, key)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	found.Size, found.Root = tree.N, tree.Hash.String()

	records, stored, err := readBundles(dir, tree.N)
	if err != nil {
		return err
	}
	found.Entries = int64(len(records))
	root, err := tlog.TreeHash(tree.N, stored)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("the bundles have the root %v, the checkpoint says %v", root, tree.Hash)
	}
	if err := checkTiles(found, dir, tree.N, stored); err != nil {
		return err
	}
	// From here on only tiles are read, and each is proved against the root as it is.
	tiles := tlog.TileHashReader(tree, tileFiles(dir))
	if err := checkInclusion(found, tree, records, tiles); err != nil {
		return err
	}
	for _, file := range older {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		old, err := openCheckpoint(text, key)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		proof, err := tlog.ProveTree(tree.N, old.N, tiles)
		if err != nil {
			return fmt.Errorf("proof from %d to %d: %w", old.N, tree.N, err)
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return fmt.Errorf("the tree of %d is not a beginning of the tree of %d: %w", old.N, tree.N, err)
		}
		found.Consistency++
	}
	return nil
}

// openCheckpoint believes a C2SP tlog-checkpoint: origin, size and root in a note that is signed
// by the key whose name is the origin.
func openCheckpoint(text []byte, key string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("not origin, size and root")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return tlog.Tree{}, fmt.Errorf("size %q", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, err
	}
	return tlog.Tree{N: size, Hash: root}, nil
}

// readBundles gives the hashes of all records, and every stored hash of the tree over them.
func readBundles(dir string, size int64) ([]tlog.Hash, tlog.HashReaderFunc, error) {
	var records, all []tlog.Hash
	stored := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for at, index := range indexes {
			if index >= int64(len(all)) {
				return nil, fmt.Errorf("no stored hash %d", index)
			}
			out[at] = all[index]
		}
		return out, nil
	})
	for n := int64(0); n*width < size; n++ {
		count := min(size-n*width, width)
		path := filePath(tlog.Tile{H: height, L: -1, N: n, W: int(count)})
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return nil, nil, err
		}
		for i := int64(0); i < count; i++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return nil, nil, fmt.Errorf("%s ends inside record %d", path, n*width+i)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			hash := tlog.RecordHash(data[2:end])
			hashes, err := tlog.StoredHashesForRecordHash(n*width+i, hash, stored)
			if err != nil {
				return nil, nil, err
			}
			records, all, data = append(records, hash), append(all, hashes...), data[end:]
		}
		if len(data) > 0 {
			return nil, nil, fmt.Errorf("%s has %d bytes too many", path, len(data))
		}
	}
	return records, stored, nil
}

// checkTiles compares every tile of every level with the tree over the bundles.
func checkTiles(found *report, dir string, size int64, stored tlog.HashReader) error {
	for _, tile := range tlog.NewTiles(height, 0, size) {
		wanted, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, filePath(tile)))
		if err != nil {
			return err
		}
		if !bytes.Equal(data, wanted) {
			return fmt.Errorf("%s is not the tile over the bundles", filePath(tile))
		}
		found.Tiles++
	}
	return nil
}

func checkInclusion(found *report, tree tlog.Tree, records []tlog.Hash, tiles tlog.HashReader) error {
	if tree.N == 0 {
		return nil
	}
	random := rand.New(rand.NewSource(tree.N))
	wanted := []int64{0, tree.N - 1}
	for i := 0; i < samples; i++ {
		wanted = append(wanted, random.Int63n(tree.N))
	}
	for _, n := range wanted {
		proof, err := tlog.ProveRecord(tree.N, n, tiles)
		if err != nil {
			return fmt.Errorf("proof of record %d: %w", n, err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, records[n]); err != nil {
			return fmt.Errorf("record %d is not in the tree: %w", n, err)
		}
		found.Inclusion++
	}
	return nil
}

// checkProof checks what `seaworthy ledger proof` printed, with a key from elsewhere.
func checkProof(found *report, file, key string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var claim struct {
		Index      int64           `json:"index"`
		Record     json.RawMessage `json:"record"`
		Leaf       string          `json:"leaf"`
		Path       []string        `json:"path"`
		Checkpoint string          `json:"checkpoint"`
	}
	if err := json.Unmarshal(text, &claim); err != nil {
		return err
	}
	tree, err := openCheckpoint([]byte(claim.Checkpoint), key)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	found.Size, found.Root = tree.N, tree.Hash.String()
	var proof tlog.RecordProof
	for _, step := range claim.Path {
		hash, err := base64.StdEncoding.DecodeString(step)
		if err != nil || len(hash) != tlog.HashSize {
			return fmt.Errorf("path: %q is no hash", step)
		}
		proof = append(proof, tlog.Hash(hash))
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, claim.Index, tlog.RecordHash([]byte(claim.Leaf))); err != nil {
		return fmt.Errorf("record %d is not in the tree: %w", claim.Index, err)
	}
	found.Inclusion = 1
	// The record as shown has to be the leaf that was proved.
	var shown, leaf any
	if err := errors.Join(json.Unmarshal(claim.Record, &shown), json.Unmarshal([]byte(claim.Leaf), &leaf)); err != nil {
		return err
	}
	one, _ := json.Marshal(shown)
	other, _ := json.Marshal(leaf)
	if !bytes.Equal(one, other) {
		return errors.New("the record is not what the leaf says")
	}
	return nil
}

// tileFiles is a directory of C2SP tlog-tiles as a tlog.TileReader.
type tileFiles string

func (dir tileFiles) Height() int { return height }

func (dir tileFiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for at, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(string(dir), filePath(tile)))
		if err != nil {
			return nil, err
		}
		out[at] = data
	}
	return out, nil
}

func (dir tileFiles) SaveTiles([]tlog.Tile, [][]byte) {}

// filePath is where C2SP tlog-tiles keeps what tlog.Tile.Path calls `tile/8/<level>/…`: the height
// is not in the path, and bundles are `entries`, not `data`.
func filePath(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
	if rest, found := strings.CutPrefix(path, "data/"); found {
		path = "entries/" + rest
	}
	return "tile/" + path
}
