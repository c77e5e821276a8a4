//! Checks of the functions of [`Device`]: values round-trip, slices do not affect elements outside, bfloat16 rounds to
//! nearest.

use super::{Check, list};
use crate::{
    Backend, DType, Device, HostTensor,
    backend::{
        Slice, SliceMut,
        conformance::support::{assert_same_bits, random, rounded, types},
    },
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["device":
        a_window_is_written_and_read_and_nothing_beside_it,
        an_upload_is_read_back,
        a_fill_stays_in_its_window,
        a_copy_rounds_or_widens_from_any_window_to_any,
        accumulating_adds_in_f32_and_rounds_once,
        gathers_and_scatters_use_the_chosen_elements_of_their_slices,
        empty_slices_are_accepted,
    ]
}

/// Lengths around every vector width, and one that takes many blocks of threads.
const LENGTHS: [usize; 11] = [1, 2, 3, 4, 7, 8, 9, 31, 33, 1000, 70_001];

/// Offsets with full, partial and no alignment.
const OFFSETS: [usize; 4] = [0, 1, 6, 8];

/// A buffer with a slice in it, and known contents on both sides of the slice.
struct Windowed<D: Device> {
    buffer: D::Buffer,
    dtype: DType,
    offset: usize,
    len: usize,
    all: Vec<f32>,
}

/// The number of elements after a slice.
const BEHIND: usize = 5;

impl<D: Device> Windowed<D> {
    fn new(device: &D, dtype: DType, offset: usize, values: &[f32]) -> Self {
        let len = offset + values.len() + BEHIND;
        let mut all = rounded(dtype, &random(55, len));
        all[offset..offset + values.len()].copy_from_slice(&rounded(dtype, values));
        let mut buffer = device.allocate(dtype.words(len)).unwrap();
        device.write(&all, SliceMut { buffer: &mut buffer, offset: 0, len, dtype }).unwrap();
        Self { buffer, dtype, offset, len: values.len(), all }
    }

    fn slice(&self) -> Slice<'_, D> {
        Slice { buffer: &self.buffer, offset: self.offset, len: self.len, dtype: self.dtype }
    }

    fn slice_mut(&mut self) -> SliceMut<'_, D> {
        SliceMut { buffer: &mut self.buffer, offset: self.offset, len: self.len, dtype: self.dtype }
    }

    /// Asserts that the slice holds `expected`, and that the elements around it are unchanged.
    #[track_caller]
    fn assert_holds(&self, device: &D, what: &str, expected: &[f32]) {
        let mut all = self.all.clone();
        all[self.offset..self.offset + self.len].copy_from_slice(expected);
        let mut found = vec![0.0; all.len()];
        let whole = Slice { buffer: &self.buffer, offset: 0, len: all.len(), dtype: self.dtype };
        device.read(whole, &mut found).unwrap();
        let what = format!("{what}, {:?} from element {} on", self.dtype, self.offset);
        assert_same_bits(&what, &found, &all);
        let mut found = vec![0.0; self.len];
        device.read(self.slice(), &mut found).unwrap();
        assert_same_bits(&format!("{what}, read as a window"), &found, expected);
    }
}

fn a_window_is_written_and_read_and_nothing_beside_it<D: Backend>(device: &D) {
    for dtype in types(device) {
        for len in LENGTHS {
            for offset in OFFSETS {
                let mut window = Windowed::new(device, dtype, offset, &random(1, len));
                // Halfway cases, which round to even, and special values, which rounding has to keep.
                let mut values = random(2, len);
                for (value, special) in values.iter_mut().zip([1.003_906_2, 1.011_718_8, f32::INFINITY, -0.0, 3.4e38]) {
                    *value = special;
                }
                device.write(&values, window.slice_mut()).unwrap();
                window.assert_holds(device, "written", &rounded(dtype, &values));
                device.write(&vec![f32::NAN; len], window.slice_mut()).unwrap();
                let mut found = vec![0.0; len];
                device.read(window.slice(), &mut found).unwrap();
                assert!(found.iter().all(|value| value.is_nan()), "{dtype:?}: a NaN is lost");
            }
        }
    }
}

fn an_upload_is_read_back<D: Backend>(device: &D) {
    for len in LENGTHS {
        let buffer = device.upload(&HostTensor::new([len], random(3, len)).unwrap()).unwrap();
        let mut found = vec![0.0; len];
        device.read(Slice::new(&buffer, 0, len), &mut found).unwrap();
        assert_same_bits("an upload", &found, &random(3, len));
    }
}

fn a_fill_stays_in_its_window<D: Backend>(device: &D) {
    for len in LENGTHS {
        for offset in OFFSETS {
            for value in [0.0, -1.5] {
                let mut window = Windowed::new(device, DType::F32, offset, &random(1, len));
                device.fill(value, window.slice_mut()).unwrap();
                window.assert_holds(device, "filled", &vec![value; len]);
            }
        }
    }
}

/// Every pair of types, lengths and offsets.
fn pairs<D: Backend>(device: &D, check: impl Fn([DType; 2], [usize; 2], usize)) {
    for from in types(device) {
        for to in types(device) {
            for len in LENGTHS {
                for offset in OFFSETS {
                    check([from, to], [offset, offset], len);
                    check([from, to], [OFFSETS[0], offset], len);
                    check([from, to], [offset, OFFSETS[1]], len);
                }
            }
        }
    }
}

fn a_copy_rounds_or_widens_from_any_window_to_any<D: Backend>(device: &D) {
    pairs(device, |dtypes, offsets, len| {
        let from = Windowed::new(device, dtypes[0], offsets[0], &random(1, len));
        let mut to = Windowed::new(device, dtypes[1], offsets[1], &random(2, len));
        device.copy(from.slice(), to.slice_mut()).unwrap();
        let expected = rounded(dtypes[1], &rounded(dtypes[0], &random(1, len)));
        to.assert_holds(device, &format!("copied from {:?}, element {}", dtypes[0], offsets[0]), &expected);
    });
}

fn accumulating_adds_in_f32_and_rounds_once<D: Backend>(device: &D) {
    pairs(device, |dtypes, offsets, len| {
        let from = Windowed::new(device, dtypes[0], offsets[0], &random(1, len));
        let mut to = Windowed::new(device, dtypes[1], offsets[1], &random(2, len));
        device.accumulate(from.slice(), to.slice_mut()).unwrap();
        let (a, b) = (rounded(dtypes[0], &random(1, len)), rounded(dtypes[1], &random(2, len)));
        let sum: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        to.assert_holds(
            device,
            &format!("added from {:?}, element {}", dtypes[0], offsets[0]),
            &rounded(dtypes[1], &sum),
        );
    });
}

fn gathers_and_scatters_use_the_chosen_elements_of_their_slices<D: Backend>(device: &D) {
    for (len, count) in [(1, 1), (5, 5), (40, 17), (1000, 33), (70_001, 4099)] {
        for offset in OFFSETS {
            // A step that is coprime to every length: no duplicates, in no particular order.
            let at: Vec<u32> = (0..count).map(|i| ((i * 7919 + 3) % len) as u32).collect();
            let indices = device.indices(&at).unwrap();
            let whole = random(1, len);
            let chosen: Vec<f32> = at.iter().map(|&at| whole[at as usize]).collect();
            let from = Windowed::new(device, DType::F32, offset, &whole);

            let sums = random(2, count);
            let mut to = Windowed::new(device, DType::F32, offset, &sums);
            device.gather_accumulate(from.slice(), &indices, to.slice_mut()).unwrap();
            let expected: Vec<f32> = sums.iter().zip(&chosen).map(|(sum, chosen)| sum + chosen).collect();
            to.assert_holds(device, "gathered and added", &expected);

            let few = Windowed::new(device, DType::F32, OFFSETS[1], &random(4, count));
            let mut to = Windowed::new(device, DType::F32, offset, &whole);
            device.scatter(few.slice(), &indices, to.slice_mut()).unwrap();
            let mut expected = whole;
            at.iter().zip(random(4, count)).for_each(|(&at, value)| expected[at as usize] = value);
            to.assert_holds(device, "scattered", &expected);
        }
    }
}

fn empty_slices_are_accepted<D: Backend>(device: &D) {
    let indices = device.indices(&[]).unwrap();
    for dtype in types(device) {
        let from = Windowed::new(device, dtype, 1, &[]);
        let mut to = Windowed::new(device, dtype, 1, &[]);
        device.write(&[], to.slice_mut()).unwrap();
        device.read(to.slice(), &mut []).unwrap();
        device.copy(from.slice(), to.slice_mut()).unwrap();
        device.accumulate(from.slice(), to.slice_mut()).unwrap();
        if dtype == DType::F32 {
            device.fill(1.0, to.slice_mut()).unwrap();
            device.gather_accumulate(from.slice(), &indices, to.slice_mut()).unwrap();
            device.scatter(from.slice(), &indices, to.slice_mut()).unwrap();
        }
        to.assert_holds(device, "nothing", &[]);
    }
    let empty = device.allocate(0).unwrap();
    device.read(Slice::new(&empty, 0, 0), &mut []).unwrap();
    device.upload(&HostTensor::new([0], Vec::new()).unwrap()).unwrap();
}
