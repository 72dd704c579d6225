//! How the VM loads this library: what `rustler::init!` would make, and how it goes on when the module that loaded it
//! is loaded again (docs/adr/0030-a-node-keeps-its-engine.md).

use std::any::type_name;
use std::ffi::{c_int, c_void, CStr, CString};
use std::mem::{align_of, MaybeUninit};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::OnceLock;

use rustler::codegen_runtime::{
    internal_write_symbols, inventory, ErlNifEntry, ErlNifEnv, ErlNifFunc, ResourceRegistration,
};
use rustler::sys::{
    enif_open_resource_type_x, ErlNifMonitor, ErlNifPid, ErlNifResourceDown, ErlNifResourceDtor,
    ErlNifResourceFlags, ErlNifResourceTypeInit, ErlNifTerm,
};
use rustler::{Env, LocalPid, Monitor, Nif, Resource};

/// What this crate tells the VM about itself.
pub(crate) struct Library {
    /// The module's name.
    pub name: &'static CStr,
    /// All types of resources, each by [`ResourceType::of`].
    pub resources: &'static [ResourceType],
}

/// A type of resources, as it is handed from one version of the module to the next.
pub(crate) struct ResourceType {
    take_over: unsafe fn(*mut ErlNifEnv) -> bool,
}

impl ResourceType {
    /// That of a Rust type.
    pub(crate) const fn of<T: Resource>() -> Self {
        ResourceType {
            take_over: take_over::<T>,
        }
    }
}

/// Of one library there is one entry, however often it is loaded.
struct Entry(ErlNifEntry);

// SAFETY: it is not written to, and what it points to lives for ever.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

/// The name by which the VM finds it.
#[no_mangle]
extern "C" fn nif_init() -> *const ErlNifEntry {
    static ENTRY: OnceLock<Entry> = OnceLock::new();
    let entry = ENTRY.get_or_init(|| {
        // SAFETY: fills rustler's table of the VM's functions, before any of them is called.
        unsafe { internal_write_symbols() };
        let functions: Vec<ErlNifFunc> = inventory::iter::<Nif>().map(Nif::get_def).collect();
        Entry(ErlNifEntry {
            upgrade: Some(upgrade),
            ..ErlNifEntry::new(crate::LIBRARY.name, functions.leak(), load)
        })
    });
    &entry.0
}

/// For a module that no older version is there of.
unsafe extern "C" fn load(env: *mut ErlNifEnv, data: *mut *mut c_void, _info: ErlNifTerm) -> c_int {
    attach(data, || {
        // SAFETY: the VM's arguments, which live as long as this call; no other `Env` has this lifetime.
        let env = unsafe { Env::new_init_env(&env, env) };
        ResourceRegistration::register_all_collected(env).is_ok()
    })
}

/// For a new version of the module, beside the one that is there. Only of the same library: another one, even of the
/// same source, would take this one's resources for its own and find something else in them.
unsafe extern "C" fn upgrade(
    env: *mut ErlNifEnv,
    data: *mut *mut c_void,
    old_data: *mut *mut c_void,
    _info: ErlNifTerm,
) -> c_int {
    attach(data, || {
        // SAFETY: as in `load`; `old_data` is valid, and what it points to is only compared.
        unsafe {
            *old_data == identity()
                // a type that is missing there would not be taken over
                && inventory::iter::<ResourceRegistration>().count() == crate::LIBRARY.resources.len()
                && crate::LIBRARY.resources.iter().all(|kind| (kind.take_over)(env))
        }
    })
}

fn attach(data: *mut *mut c_void, what: impl FnOnce() -> bool) -> c_int {
    let is_attached = catch_unwind(AssertUnwindSafe(what)).unwrap_or(false);
    if is_attached {
        // SAFETY: the VM's place for what belongs to the module's version.
        unsafe { *data = identity() };
    }
    c_int::from(!is_attached)
}

/// An address that no other library has.
fn identity() -> *mut c_void {
    static HERE: u8 = 0;
    (&raw const HERE).cast_mut().cast()
}

/// Says that this version of the module looks after the resources of a type from now on, those that are there and
/// those to come. rustler's record of the type stays right: it is the same one.
unsafe fn take_over<T: Resource>(env: *mut ErlNifEnv) -> bool {
    let Ok(name) = CString::new(type_name::<T>()) else {
        return false;
    };
    let down = if T::IMPLEMENTS_DOWN {
        down::<T> as *const ErlNifResourceDown
    } else {
        std::ptr::null()
    };
    let callbacks = ErlNifResourceTypeInit {
        dtor: drop_resource::<T> as *const ErlNifResourceDtor,
        stop: std::ptr::null(),
        down,
    };
    let mut done = MaybeUninit::uninit();
    // SAFETY: all pointers are valid during the call, and the functions are of the type that is asked for.
    let opened = unsafe {
        enif_open_resource_type_x(
            env,
            name.as_ptr(),
            &callbacks,
            ErlNifResourceFlags::ERL_NIF_RT_TAKEOVER,
            done.as_mut_ptr(),
        )
    };
    !opened.is_null()
}

unsafe extern "C" fn drop_resource<T: Resource>(_env: *mut ErlNifEnv, memory: *mut c_void) {
    // SAFETY: the VM is about to free the memory, and calls this once.
    let drop = || unsafe { std::ptr::drop_in_place(place::<T>(memory)) };
    let _ = catch_unwind(AssertUnwindSafe(drop));
}

unsafe extern "C" fn down<T: Resource>(
    env: *mut ErlNifEnv,
    memory: *mut c_void,
    pid: *const ErlNifPid,
    monitor: *const ErlNifMonitor,
) {
    let tell = || {
        // SAFETY: the VM's arguments, which are valid during this call.
        unsafe {
            let (pid, monitor) = (
                LocalPid::from_c_arg(*pid),
                Monitor::from_c_arg(std::ptr::read(monitor)),
            );
            (*place::<T>(memory)).down(Env::new(&env, env), pid, monitor);
        }
    };
    let _ = catch_unwind(AssertUnwindSafe(tell));
}

/// Where rustler has put the value in a resource's memory (`align_alloced_mem_for_struct`, which is private; the
/// version of rustler is fixed for it in Cargo.toml): the first aligned place behind the beginning.
fn place<T>(memory: *mut c_void) -> *mut T {
    let align = align_of::<T>();
    memory
        .wrapping_byte_add(align - memory as usize % align)
        .cast()
}
