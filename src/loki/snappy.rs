//! Raw snappy blocks (google/snappy, format_description.txt): the size of the text as a varint, then
//! elements one after another. An encoder begins anew every [`PIECE`] bytes, so text can be packed piece by
//! piece as it comes, while it lies in near memory, and what is put before it needs no copy of it.

/// As much text as refers to itself.
pub(super) const PIECE: usize = 64 * 1024;

/// An encoder with its memory: some 110 KiB once it has packed a whole piece.
pub struct Packer {
    encoder: snap::raw::Encoder,
    room: Vec<u8>,
}

impl Default for Packer {
    fn default() -> Self {
        Self { encoder: snap::raw::Encoder::new(), room: Vec::new() }
    }
}

impl Packer {
    /// Adds text to what is packed.
    pub(super) fn pack(&mut self, text: &[u8], packed: &mut Packed) {
        self.elements(text, &mut packed.elements);
        packed.size += text.len();
    }

    fn elements(&mut self, text: &[u8], out: &mut Vec<u8>) {
        for piece in text.chunks(PIECE) {
            let most = snap::raw::max_compress_len(piece.len());
            if self.room.len() < most {
                self.room.resize(most, 0);
            }
            // It begins with the size of the piece alone, and that has no place here.
            let size = varint_size(piece.len() as u64);
            // The only errors are an input of 4 GiB and too little room.
            let packed = self.encoder.compress(piece, &mut self.room).unwrap_or_default();
            out.extend_from_slice(&self.room[size..packed.max(size)]);
        }
    }
}

/// Text that is packed: elements, and the size of what they hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed {
    elements: Vec<u8>,
    size: usize,
}

impl Packed {
    /// The size of the text.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The text again.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(self.elements.len() + VARINT);
        varint(self.size as u64, |byte| block.push(byte));
        block.extend_from_slice(&self.elements);
        // These are our own.
        snap::raw::Decoder::new().decompress_vec(&block).unwrap_or_default()
    }

    pub(super) fn clear(&mut self) {
        self.elements.clear();
        self.size = 0;
    }
}

/// One block of a head as it is, what is packed, and what is not.
pub(super) fn block(head: &[u8], packed: &Packed, text: &[u8]) -> Vec<u8> {
    let room = VARINT + head.len() + 8 + packed.elements.len() + text.len() / 4;
    let mut out = Vec::with_capacity(room);
    varint((head.len() + packed.size + text.len()) as u64, |byte| out.push(byte));
    literal(&mut out, head);
    out.extend_from_slice(&packed.elements);
    Packer::default().elements(text, &mut out);
    out
}

/// An element that stands for itself: its length less one, in the tag where it is below 60, else in two
/// bytes behind it.
fn literal(out: &mut Vec<u8>, bytes: &[u8]) {
    for piece in bytes.chunks(1 << 16) {
        let [low, high, ..] = (piece.len() - 1).to_le_bytes();
        if piece.len() <= 60 {
            out.push(low << 2);
        } else {
            out.extend_from_slice(&[61 << 2, low, high]);
        }
        out.extend_from_slice(piece);
    }
}

/// The most bytes of a varint.
const VARINT: usize = 10;

/// How many bytes `value` takes as a varint.
pub(super) fn varint_size(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Gives the bytes of a varint (protobuf's and snappy's are the same).
pub(super) fn varint(mut value: u64, mut give: impl FnMut(u8)) {
    while value >= 0x80 {
        give(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    give(value.to_le_bytes()[0]);
}
