// What all scripts of the page share: the data that the page carries.
const report = JSON.parse(document.getElementById("report-data").textContent);
document.documentElement.classList.add("scripted");
