mod accepting;
mod merging;
mod real;
